# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Line plots as SVG text, the same bytes for the same numbers."""

import dataclasses
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 36, 48
COLORS = ("#0b6e99", "#c2410c", "#4d7c0f", "#7e22ce", "#b91c1c", "#334155", "#a16207", "#0f766e")


@dataclasses.dataclass(frozen=True)
class Series:
    """Points (x, y), in order; `line`: joined, else marks alone. `dashed` lines have no marks: they are limits."""

    name: str
    points: tuple
    line: bool = True
    dashed: bool = False


def _ticks(low, high, log):
    """Round numbers between two ends."""
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        steps = (1, 2, 5) if len(decades) < 4 else (1,)
        return [s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d <= high * 1.0001]
    step = 10 ** math.floor(math.log10((high - low) / 4 or 1))
    step *= next(s for s in (1, 2, 5, 10) if (high - low) / (s * step) <= 6)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


class _Axis:
    """Maps values between the ends to places."""

    def __init__(self, values, start, end, log, from_zero):
        low, high = min(values), max(values)
        if log:
            low, high = low / 1.15, high * 1.15
        else:
            low, high = (0.0 if from_zero else low), high + 0.08 * (high - (0 if from_zero else low) or 1)
        self.low, self.high, self.start, self.end, self.log = low, high, start, end, log

    def place(self, value):
        scale = math.log if self.log else float
        share = (scale(value) - scale(self.low)) / ((scale(self.high) - scale(self.low)) or 1)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, fixed=None):
        return [t for t in fixed if self.low <= t <= self.high] if fixed else _ticks(self.low, self.high, self.log)


def _text(x, y, text, anchor="middle", extra=""):
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{extra}>{escape(text)}</text>'


def _frame(x_axis, y_axis, x_ticks):
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for tick in y_axis.ticks():
        y = y_axis.place(tick)
        yield f'<line x1="{LEFT}" y1="{y}" x2="{right}" y2="{y}" stroke="#ddd"/>'
        yield _text(LEFT - 6, y + 4, f"{tick:g}", "end")
    for tick in x_axis.ticks(x_ticks):
        x = x_axis.place(tick)
        yield f'<line x1="{x}" y1="{bottom}" x2="{x}" y2="{bottom + 4}" stroke="#555"/>'
        yield _text(x, bottom + 18, f"{tick:g}")
    yield f'<rect x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{bottom - TOP}" fill="none" stroke="#555"/>'


def _curve(series, color, x_axis, y_axis):
    places = [(x_axis.place(x), y_axis.place(y)) for x, y in series.points]
    if series.line:
        dash = ' stroke-dasharray="6 4"' if series.dashed else ""
        yield (f'<polyline fill="none" stroke="{color}" stroke-width="2"{dash} points="'
               + " ".join(f"{x},{y}" for x, y in places) + '"/>')
    for x, y in places if not series.dashed else ():
        yield f'<circle cx="{x}" cy="{y}" r="3" fill="{color}"/>'


def plot(title, x_label, y_label, series, log_x=False, log_y=False, x_ticks=None, y_from_zero=True):
    """The SVG text of a plot with a legend; series without points are left out."""
    series = [s for s in series if s.points]
    xs, ys = ([point[i] for s in series for point in s.points] for i in (0, 1))
    x_axis = _Axis(xs, LEFT, WIDTH - RIGHT, log_x, True)
    y_axis = _Axis(ys, HEIGHT - BOTTOM, TOP, log_y, y_from_zero)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', _text(LEFT, 22, title, "start", ' font-weight="bold"'),
             *_frame(x_axis, y_axis, x_ticks), _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_label),
             _text(16, (TOP + HEIGHT - BOTTOM) / 2, y_label, extra=f' transform="rotate(-90 16 {(TOP + HEIGHT - BOTTOM) / 2})"')]
    for i, one in enumerate(series):
        color, y = COLORS[i % len(COLORS)], TOP + 12 + 20 * i
        parts += _curve(one, color, x_axis, y_axis)
        parts.append(f'<rect x="{WIDTH - RIGHT + 14}" y="{y - 8}" width="12" height="4" fill="{color}"/>')
        parts.append(_text(WIDTH - RIGHT + 32, y - 2, one.name, "start"))
    return "\n".join(parts) + "\n</svg>\n"
