# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What is timed: calls that were checked."""

import dataclasses

import torch


@dataclasses.dataclass
class Variant:
    """A way to do a row's work: calls on buffers of their own, the relative error of the first, and whether it is dense."""

    calls: list
    relative_error: float | None = None
    dense: bool = False


def copies(tensor, count):
    """A tensor and copies of it, `count` in all."""
    return [tensor, *(tensor.clone(memory_format=torch.preserve_format) for _ in range(count - 1))]


def relative_error(found, expected):
    """In the Frobenius norm."""
    return float((found.double() - expected).norm() / expected.norm())


def expect_error(name, error, limit):
    """Raises unless an error is within its limit; NaN is not."""
    if not error <= limit:
        raise AssertionError(f"{name}: relative error {error:.3g}, at most {limit:.3g}")
