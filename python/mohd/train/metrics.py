# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a run tells: lines and a bar for people, metrics.jsonl and TensorBoard for programs. Only the first process tells anything."""

import json
import pathlib
import sys
import time

from mohd.files import replace_text
from mohd.progress import Bar
from mohd.train import parallel


def summary_writer(folder):
    """TensorBoard's writer into `folder`; ImportError with what is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(f"expects the package tensorboard with log.tensorboard, got: {error}") from error
    return SummaryWriter(str(folder))


class Metrics:
    """Appends records to `out`/metrics.jsonl, after removing those later than `step`, which a resumed run writes anew."""

    def __init__(self, settings, step):
        self.board, self.settings, self.begun, self.started = None, settings, step, time.monotonic()
        self.bar = Bar(step / settings.steps)
        if not parallel.is_first():
            return
        out = pathlib.Path(settings.out)
        self.path = out / "metrics.jsonl"
        kept = self.path.read_text().splitlines(keepends=True) if self.path.exists() else []
        kept = [line for line in kept if line.endswith("\n") and json.loads(line)["step"] <= step]  # the last may be half
        replace_text(self.path, "".join(kept))
        if settings.log.tensorboard:
            self.board = summary_writer(out / "tensorboard")

    def add(self, step, line, **values):
        """Records `values` of `step` and prints `line`; where lines and bar are on a terminal, the bar has those of single steps."""
        if not parallel.is_first():
            return
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step} | values) + "\n")
        for name, value in values.items():
            if self.board:
                self.board.add_scalar(name, value, step)
        if "loss" not in values or not (sys.stdout.isatty() and sys.stderr.isatty()):
            self.bar.clear()
            print(line, flush=True)

    def progress(self, step, loss, load):
        """Draws the bar of a run that has done `step` steps; `load` is a function, which is called where there is a terminal only."""
        s = self.settings

        def text():
            speed = (step - self.begun) * s.batch * s.sequence_length / (time.monotonic() - self.started)
            return f"step {step}/{s.steps}  loss {loss:.4f}  {speed:.0f} tokens/s  load {load():.2f}"

        if parallel.is_first():
            self.bar(step / s.steps, text)

    def close(self):
        """Ends the bar's line and TensorBoard's file."""
        self.bar.close()
        if self.board:
            self.board.close()
