"""One direction of a sliding window: which inputs a run of outputs reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A run of inputs: `size` of them from `start`, between `before` and `after` of padding."""

    start: int
    size: int
    before: int
    after: int

    def without_first(self, count: int, step: int) -> Span:
        """The span without its first `count` inputs, which are `step` apart in memory."""
        before = max(self.before - count, 0)
        rest = max(count - self.before, 0)
        size = max(self.size - rest, 0)
        after = self.after - max(rest - self.size, 0)
        return Span(self.start + (self.size - size) * step, size, before, after)


@dataclass(frozen=True, slots=True)
class Axis:
    """A window along y or x.

    size       inputs
    outputs    outputs
    kernel     taps, `dilation` inputs apart
    stride     inputs between the windows of two outputs
    before     inputs of padding before the first
    may_skip   whether single inputs can be left out when memory is read (rows can, words cannot)
    """

    size: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    before: int = 0
    may_skip: bool = False

    @property
    def reach(self) -> int:
        """Inputs from a window's first to its last."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def skips(self) -> bool:
        """Whether the inputs between two windows are never read and need not be loaded."""
        inside = (self.outputs - 1) * self.stride < self.size
        return (
            self.may_skip and self.kernel == 1 and self.before == 0 and self.stride > 1 and inside
        )

    @property
    def memory_step(self) -> int:
        """Inputs in memory from one loaded input to the next."""
        return self.stride if self.skips else 1

    @property
    def buffer_stride(self) -> int:
        """Loaded inputs between the windows of two outputs."""
        return 1 if self.skips else self.stride

    def span(self, first: int, count: int) -> Span:
        """What outputs `first` to `first + count - 1` read; `start` is in inputs of memory."""
        if self.skips:
            return Span(first * self.stride, count, 0, 0)
        low = first * self.stride - self.before
        high = low + (count - 1) * self.stride + self.reach
        start, end = max(low, 0), min(high, self.size)
        if start >= end:
            return Span(0, 0, high - low, 0)
        return Span(start, end - start, start - low, high - end)

    def loaded(self, count: int) -> int:
        """Inputs, padding included, that `count` neighbouring outputs read."""
        return count if self.skips else (count - 1) * self.stride + self.reach
