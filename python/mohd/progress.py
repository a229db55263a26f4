# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How far a program is, for people who wait in front of a terminal."""

import math
import os
import sys
import time


def clock(seconds):
    """Seconds as h:mm:ss."""
    seconds = round(seconds)
    return f"{seconds // 3600:.0f}:{seconds // 60 % 60:02.0f}:{seconds % 60:02.0f}"


class Bar:
    """A progress bar with the time that is left, on stderr where that is a terminal. `begun` is the share that was done before."""

    WIDTH, EVERY = 40, 0.1  # columns at most; seconds between two drawings

    def __init__(self, begun=0.0):
        self.begun, self.started, self.drawn, self.length = begun, time.monotonic(), -math.inf, 0

    def __call__(self, done, text=lambda: ""):
        """Draws the share that is done and what `text` gives, in one line of the terminal; does nothing shortly after the last time."""
        now = time.monotonic()
        if not sys.stderr.isatty() or (now - self.drawn < self.EVERY and done < 1):
            return
        self.drawn = now
        left = clock((now - self.started) * (1 - done) / max(done - self.begun, 1e-9))
        rest = f"{100 * done:3.0f} %  left {left}  {text()}".rstrip()
        columns = self._columns() - 1
        width = min(self.WIDTH, columns - len(rest) - 3)
        filled = int(width * done)
        line = f"[{'#' * filled}{'.' * (width - filled)}] {rest}" if width > 4 else rest[:columns]
        print(f"\r{line.ljust(self.length)}", end="", file=sys.stderr, flush=True)
        self.length = len(line)

    @staticmethod
    def _columns():
        """The terminal's width."""
        try:
            return os.get_terminal_size(sys.stderr.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def clear(self):
        """Takes the bar away, until it is drawn again, to make place for a line."""
        if self.length:
            print(f"\r{' ' * self.length}\r", end="", file=sys.stderr, flush=True)
            self.length, self.drawn = 0, -math.inf

    def close(self):
        """Ends the bar's line."""
        if self.length:
            print(file=sys.stderr, flush=True)
            self.length = 0
