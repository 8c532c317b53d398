"""Windows that slide over the spatial axes, and the pools that use them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from intaglio.compiler.onnx_import.node import Builder, Function, OnnxNode

MAX_POOLS = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
AVERAGE_POOLS: tuple[Callable[..., Tensor], ...] = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


@dataclass(frozen=True, slots=True)
class Window:
    """A window over the spatial axes; `before` and `after` are the pixels of padding."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def symmetric(self) -> bool:
        """Whether both ends of every axis are padded alike."""
        return self.before == self.after

    @property
    def padded(self) -> bool:
        """Whether there is any padding."""
        return any(self.before) or any(self.after)

    @property
    def as_pool(self) -> bool:
        """Whether pools of PyTorch take this padding: alike at both ends, half a window at most."""
        return self.symmetric and all(
            2 * p <= k for p, k in zip(self.before, self.kernel, strict=True)
        )


def window_of(node: OnnxNode, kernel: tuple[int, ...]) -> Window:
    """The window of a convolution or pool: `auto_pad` becomes pixels of padding."""
    axes = len(kernel)
    node.require(
        1 <= axes <= 3 and node.rank == axes + 2,
        f"its input has shape {node.shape()} and its window shape {kernel}",
        "give one to three spatial axes",
    )
    stride, dilation = (node.integers(name, (1,) * axes) for name in ("strides", "dilations"))
    pads = node.integers("pads", (0,) * 2 * axes)
    mode = node.text("auto_pad", "NOTSET")
    if mode == "VALID":
        pads = (0,) * 2 * axes
    elif mode != "NOTSET":
        reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        total = [
            max((-(-size // s) - 1) * s + r - size, 0)
            for size, s, r in zip(node.shape()[2:], stride, reach, strict=True)
        ]
        less, more = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = (*less, *more) if mode == "SAME_UPPER" else (*more, *less)
    return Window(kernel, stride, dilation, pads[:axes], pads[axes:])


def pad_input(x: Tensor, window: Window, value: float) -> Tensor:
    """`x` with the padding of a window around it."""
    pairs = zip(reversed(window.before), reversed(window.after), strict=True)
    return F.pad(x, [pixels for pair in pairs for pixels in pair], value=value)


def _max_pool(node: OnnxNode) -> Function:
    node.require(node.outputs == 1, "its indices are read", "read the maxima alone")
    window = window_of(node, node.integers("kernel_shape"))
    ceil = bool(node.integer("ceil_mode", 0))
    pool = MAX_POOLS[len(window.kernel) - 1]

    def run(x: Tensor) -> Tensor:
        padding = list(window.before)
        if not window.as_pool:
            x, padding = pad_input(x, window, float("-inf")), [0] * len(padding)
        return pool(x, window.kernel, window.stride, padding, window.dilation, ceil)

    return run


def _average_pool(node: OnnxNode) -> Function:
    """Where PyTorch cannot count a padding, sums are divided by averages of ones."""
    window = window_of(node, node.integers("kernel_shape"))
    node.require(
        set(window.dilation) == {1}, "dilated average pooling is not supported", "use dilation 1"
    )
    counted = bool(node.integer("count_include_pad", 0)) or not window.padded
    ceil = bool(node.integer("ceil_mode", 0))
    pool = AVERAGE_POOLS[len(window.kernel) - 1]

    def averages(x: Tensor) -> Tensor:
        whole = pad_input(x, window, 0.0)
        return pool(whole, window.kernel, window.stride, 0, ceil)

    def run(x: Tensor) -> Tensor:
        if window.as_pool:
            return pool(x, window.kernel, window.stride, window.before, ceil, counted)
        return averages(x) if counted else averages(x) / averages(torch.ones_like(x))

    return run


def _global_pool(function: Callable[[Tensor, list[int], bool], Tensor]) -> Builder:
    """Over whole maps; one of a single pixel is its own."""

    def build(node: OnnxNode) -> Function:
        axes = list(range(2, node.rank))
        if all(extent == 1 for extent in node.shape()[2:]):
            return lambda x: x
        return lambda x: function(x, axes, True)

    return build


POOLS: Mapping[str, Builder] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_pool(torch.mean),
    "GlobalMaxPool": _global_pool(torch.amax),
    "MaxPool": _max_pool,
}
