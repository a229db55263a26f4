# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The progress bar, in pseudo-terminals."""

import errno
import fcntl
import json
import os
import pathlib
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from cases import config_of
from mohd.config import Routing
from mohd.nn import MoHDForCausalLM
from mohd.progress import Bar, clock

PYTHON = pathlib.Path(__file__).resolve().parents[1]
TRAIN = {
    "model": config_of(Routing(16, 6, 2), vocab_size=128, num_hidden_layers=1, tokenizer="bytes").to_dict(), "data": {"path": "text", "held_out": 0.1},
    "out": "out", "sequence_length": 16, "batch": 2, "steps": 4, "evaluation": {"every": 2, "sequences": 2}, "checkpoints": {"every": 4}, "log": {"every": 1},
}
TEXT = r"100 %  left 0:00:00  step 4/4  loss \d\.\d{4}  \d+ tokens/s  load \d\.\d\d"


def run_in_terminal(command, columns, stdout=None):
    """(exit code, what is on the terminal) of a command whose stderr, and whose stdout unless it is given, is a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout or theirs, stderr=theirs, env=os.environ | {"PYTHONPATH": str(PYTHON)})
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError as error:  # the terminal's other end is closed
        assert error.errno == errno.EIO
    os.close(ours)
    return process.wait(60), shown.decode().replace("\r\n", "\n")


def train_in_terminal(folder, columns, **how):
    """What a run of training shows on a terminal."""
    (folder / "text").write_bytes(b"the quick brown fox jumps over the lazy dog; " * 40)
    (folder / "train.json").write_text(json.dumps(TRAIN))
    code, shown = run_in_terminal([sys.executable, "-m", "mohd.train", "--config", folder / "train.json"], columns, **how)
    assert code == 0, shown
    return shown


def test_training_on_a_terminal_has_a_bar_instead_of_the_lines_of_steps(tmp_path):
    shown = train_in_terminal(tmp_path, 120)
    assert re.search(rf"\r\[#{{30,40}}\] {TEXT} *(\r|\n)", shown)
    assert "balance" not in shown  # which lines of steps have
    assert re.search(r"\r +\rstep 2/4  held-out loss \d", shown) and re.search(r"\nheld-out loss \d.*; wrote ", shown)
    assert all(len(line) < 120 for line in re.split(r"[\r\n]", shown))


def test_training_into_a_file_has_lines_there_and_a_bar_on_the_terminal(tmp_path):
    with (tmp_path / "lines").open("w") as lines:
        shown = train_in_terminal(tmp_path, 60, stdout=lines)
    text = (tmp_path / "lines").read_text()
    assert [int(step) for step in re.findall(r"step (\d)/4  loss .* balance .* load", text)] == [1, 2, 3, 4]
    assert "\r" not in text and "held-out" not in shown
    assert re.search(r"\r100 %  left 0:00:00  step 4/4  loss \d", shown)  # too narrow for the bar
    assert all(len(line) < 60 for line in re.split(r"[\r\n]", shown))


def test_analysis_on_a_terminal_has_a_bar(tmp_path):
    MoHDForCausalLM(config_of(Routing(16, 6, 2), vocab_size=256, num_hidden_layers=1, tokenizer="bytes")).save_pretrained(tmp_path / "model")
    (tmp_path / "text").write_bytes(b"the quick brown fox jumps over the lazy dog; " * 4)
    command = [sys.executable, "-m", "mohd.analyze", tmp_path / "model", "--text", tmp_path / "text", "-o", tmp_path / "out"]
    code, shown = run_in_terminal(command, 80)
    assert code == 0 and re.search(r"\r\[#{40}\] 100 %  left 0:00:00 *\n128 tokens, 1 layers; wrote ", shown), shown


def test_without_a_terminal_nothing_is_drawn(capsys):
    bar = Bar()
    bar(0.5, lambda: pytest.fail("expects no text where there is no terminal"))
    bar.clear()
    bar.close()
    assert capsys.readouterr() == ("", "")


def test_time_left_counts_what_this_run_has_done():
    code = "import mohd.progress as p, time; p.time.monotonic = lambda: 0; b = p.Bar(0.5); p.time.monotonic = lambda: 10; b(0.75); b(0.8); b.close()"
    code, shown = run_in_terminal([sys.executable, "-c", code], 0)
    assert code == 0 and shown.startswith("\r[") and shown.endswith("]  75 %  left 0:00:10\n")  # the second one came too early


def test_clock():
    assert clock(3725.4) == "1:02:05" and clock(59.7) == "0:01:00" and clock(3599.6) == "1:00:00"
