# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs items in a child process that may crash or hang: then the item is a failure, and another child does the rest.

A kernel that faults makes its process's GPU context useless, and one that waits for ever holds it; neither may take the other results along.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

START_SECONDS = 90
"""What a child may take until it begins: importing torch, starting the driver."""


def serve(check, items, say):
    """The child: reports the beginning and the result of every item as lines of JSON. After an error of the device it ends."""
    for item in items:
        say({"begin": item})
        try:
            result = check(item)
        except Exception as problem:
            result = {"ok": False, "problems": [f"{type(problem).__name__}: {problem}"], "trace": traceback.format_exc(limit=-4)}
            say({"end": item, "result": result})
            if getattr(problem, "status", "") == "DEVICE" or "CUDA" in str(problem):
                return
            continue
        say({"end": item, "result": result})


def _read(stream, lines):
    for line in stream:
        lines.put(line)
    lines.put(None)


def _next(lines, deadline):
    """The child's next message; None at its end, TimeoutError past the deadline."""
    while True:
        try:
            line = lines.get(timeout=max(0.05, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError from None
        if line is None:
            return None
        try:
            return json.loads(line)
        except ValueError:
            continue  # not a message: a library's print


def _end(child):
    """Kills what is left of a child and returns its status; a process that is stuck in the driver is left behind."""
    try:
        child.wait(timeout=5)
    except subprocess.TimeoutExpired:
        try:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait(timeout=10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
    return child.poll()


def supervise(command, items, deadline, item_seconds, report, environment=None):
    """Runs items by children, `command` with the items' names on standard input, until none is left or `deadline`.

    Calls report(item, result) for each as it ends, and report(None, message) for other messages. Returns the items left out.
    """
    pending = list(items)
    while pending and time.monotonic() < deadline:
        with tempfile.TemporaryFile("w+") as errors:
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
                                     env=os.environ | (environment or {}))
            lines, current, begun, problem = queue.Queue(), None, False, None
            threading.Thread(target=_read, args=(child.stdout, lines), daemon=True).start()
            try:
                child.stdin.write("\n".join(pending))
                child.stdin.close()
            except BrokenPipeError:
                pass
            while True:
                limit = time.monotonic() + (item_seconds if current else START_SECONDS)
                try:
                    message = _next(lines, min(limit, deadline))
                except TimeoutError:
                    problem = None if time.monotonic() >= deadline and limit > deadline else f"no answer in {item_seconds if current else START_SECONDS} s"
                    os.killpg(child.pid, signal.SIGKILL)
                    break
                if message is None:
                    break
                if "begin" in message:
                    current, begun = message["begin"], True
                elif "end" in message:
                    report(current, message["result"])
                    pending.remove(current)
                    current = None
                else:
                    report(None, message)
            status = _end(child)
            errors.seek(0)
            last = errors.read()[-2000:]
        if time.monotonic() >= deadline and problem is None:
            break
        if current or not begun:
            failed = current or pending[0]
            report(failed, {"ok": False, "problems": [problem or f"the process ended with {status}"], "trace": last})
            pending.remove(failed)
            if not begun:  # nothing can run here
                break
    return pending


def messages():
    """A function that writes messages of a child, with standard output kept for them alone."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout = sys.stderr

    def say(message):
        out.write(json.dumps(message) + "\n")
        out.flush()

    return say
