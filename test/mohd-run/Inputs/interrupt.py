# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Starts a command that reads stdin, interrupts it once it has its handlers, and says how it ended."""

import pathlib
import signal
import subprocess
import sys
import time


def catches(process, number):
    """Whether the process has a handler for a signal."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return int(mask, 16) >> (number - 1) & 1


def heed_interrupts():
    """Undoes what a shell does to background jobs."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


process = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, preexec_fn=heed_interrupts)
deadline = time.monotonic() + 30
while not catches(process, signal.SIGINT) and time.monotonic() < deadline:
    time.sleep(0.01)
process.send_signal(signal.SIGINT)
code = process.wait(30)
print("ended by", signal.Signals(-code).name) if code < 0 else print("ended with status", code)
