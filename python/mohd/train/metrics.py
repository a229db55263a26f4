# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a run tells: lines for people, metrics.jsonl and TensorBoard for programs. Only the first process tells anything."""

import json
import pathlib

from mohd.files import replace_text
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
        self.board = None
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
        """Records `values` of `step` and prints `line`."""
        if not parallel.is_first():
            return
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step} | values) + "\n")
        for name, value in values.items():
            if self.board:
                self.board.add_scalar(name, value, step)
        print(line, flush=True)

    def close(self):
        """Ends TensorBoard's file."""
        if self.board:
            self.board.close()


def clock(seconds):
    """Seconds as h:mm:ss."""
    return f"{seconds // 3600:.0f}:{seconds // 60 % 60:02.0f}:{seconds % 60:02.0f}"
