"""Convolutions and products: operands packed for dot products, accumulators in registers.

    packed   the input, padded, `depth` channels side by side          (n, b, g, y, x, c, i)
    weights  `lanes` output channels side by side                      (g, k, fy, fx, c, lane, i)
    acc      sums over fy, fx, c, i                                    (n, b, g, k, oy, ox, lane)
    blocked  the epilogue, on vectors of `lanes` channels              (n, b, g, k, oy, ox, lane)
    y        the output in row-major order

A tile of `blocked` is a few vectors of channels times a few pixels, as many accumulators as the
processor has registers.  Extents that do not fill a vector or a tile are padded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx
from tvm.ir import Expr
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV

from intaglio.compiler.kernels.definition import (
    At,
    Definition,
    Epilogue,
    Schedules,
    machine_type,
    sum_type,
)
from intaglio.compiler.kernels.dots import Dot, register
from intaglio.compiler.kernels.schedules import share
from intaglio.compiler.numerics import ACCUMULATOR, accumulator_bound
from intaglio.compiler.workload import ElementType, Pair, Requantise

Read = Callable[..., tuple[Expr, list[Expr]]]
"""An input value at (n, b, g, c, y, x), and the conditions under which there is one."""

LARGEST = ACCUMULATOR.hi
PLAIN_LANES = 8
MOST_PIXELS = 14
"""Of one tile."""
MOST_VECTORS = 8
"""Of output channels in one tile."""
INNER_LOOPS = {"packed": 3, "weights": 3, "residual": 2, "y": 1}
"""Loops inside of those that cores share, in the blocks that only move."""


@dataclass(frozen=True, slots=True)
class Packing:
    """How operands lie in memory: `dot` or a plain loop, and what is added to every input.

    Dot products of unsigned inputs see x - lo; the epilogue's bias takes lo * (sum of w) back.
    """

    dot: Dot | None
    lanes: int
    depth: int
    input: str
    weight: str
    sum: str
    offset: int = 0

    @property
    def accumulators(self) -> int:
        """How many vectors of accumulators the processor can hold beside its operands."""
        return 28 if self.lanes > PLAIN_LANES else 12


def pack(dots: tuple[Dot, ...], element: ElementType, weight: NDArray[Any]) -> Packing:
    """The fastest packing in which inputs of `element` times `weight` (K, ...) are exact."""
    for dot in dots:
        if _exact(dot, element, weight):
            return _packing(dot, -element.lo if dot.unsigned else 0)
    bound = int(accumulator_bound(weight, element.lo, element.hi).max())
    return _plain(element, machine_type(int(weight.min()), int(weight.max())), bound)


def pack_computed(
    dots: tuple[Dot, ...], element: ElementType, other: ElementType, count: int
) -> Packing:
    """The fastest packing in which sums of `count` products of two computed values are exact."""
    reach = [max(-each.lo, each.hi) for each in (element, other)]
    bound = count * reach[0] * reach[1]
    for dot in dots:
        if not dot.unsigned and _pairs(dot, element, other.lo, other.hi) and bound <= LARGEST:
            return _packing(dot, 0)
    return _plain(element, machine_type(other.lo, other.hi), bound)


def _exact(dot: Dot, element: ElementType, weight: NDArray[Any]) -> bool:
    """Whether `dot` holds every input, weight and partial sum."""
    lo, hi = int(weight.min(initial=0)), int(weight.max(initial=0))
    if not dot.unsigned:
        bound = accumulator_bound(weight, element.lo, element.hi)
        return _pairs(dot, element, lo, hi) and int(bound.max()) <= LARGEST
    span = element.hi - element.lo
    held = span <= dot.input.hi and dot.weight.lo <= lo and hi <= dot.weight.hi
    return held and int(accumulator_bound(weight, 0, span).max()) <= LARGEST


def _pairs(dot: Dot, element: ElementType, lo: int, hi: int) -> bool:
    """Whether signed `dot` holds inputs of `element` and weights lo..hi, which leave out its least.

    That one, squared twice, is the only pair of products whose sum exceeds 32 bits.
    """
    held = dot.input.lo <= element.lo and element.hi <= dot.input.hi
    return held and dot.weight.lo < lo and hi <= dot.weight.hi


def _packing(dot: Dot, offset: int) -> Packing:
    x, w = (machine_type(each.lo, each.hi) for each in (dot.input, dot.weight))
    return Packing(dot, dot.lanes, dot.depth, x, w, "int32", offset)


def _plain(element: ElementType, weight: str, bound: int) -> Packing:
    inputs = machine_type(element.lo, element.hi)
    return Packing(None, PLAIN_LANES, 1, inputs, weight, sum_type(bound))


@dataclass(frozen=True, slots=True)
class Residual:
    """The tensor an epilogue adds: its value at (n, b, channel, y, x), and its type in memory."""

    at: At
    dtype: str


@dataclass(frozen=True)
class Contraction:
    """The extents of one contraction: batch, groups, channels of a group, window and outputs."""

    packing: Packing
    batch: int
    groups: int
    inputs: int
    outputs: int
    pixels: Pair
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)

    @cached_property
    def tile(self) -> Pair:
        """Vectors of channels and pixels of one tile."""
        width = self.pixels[1]
        pixels = width
        if width > MOST_PIXELS:
            options = range(MOST_PIXELS // 2, MOST_PIXELS + 1)
            pixels = min(options, key=lambda size: (-(-width // size) * size, -size))
        most = min(MOST_VECTORS, max(1, self.packing.accumulators // pixels))
        vectors = max(v for v in range(1, most + 1) if self.vectors % v == 0)
        return vectors, pixels

    @property
    def vectors(self) -> int:
        """Vectors of output channels of a group."""
        return -(-self.outputs // self.packing.lanes)

    @property
    def words(self) -> int:
        """Input channels of a group, in units of `depth`."""
        return -(-self.inputs // self.packing.depth)

    @property
    def width(self) -> int:
        """Columns of output pixels, filled up to whole tiles."""
        return -(-self.pixels[1] // self.tile[1]) * self.tile[1]

    @property
    def footprint(self) -> Pair:
        """Rows and columns of input pixels that the output, filled up, meets."""
        extents = zip(
            (self.pixels[0], self.width), self.stride, self.kernel, self.dilation, strict=True
        )
        rows, columns = ((out - 1) * s + (k - 1) * d + 1 for out, s, k, d in extents)
        return rows, columns

    def blocked(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array by output channel as (groups, vectors, lanes), filled up with 0.

        It is (groups * outputs,), (outputs,) for all groups, or (1,) for all channels.
        """
        lanes = self.packing.lanes
        same = array.size in (1, self.outputs)
        spread = np.zeros((self.groups, self.vectors * lanes), array.dtype)
        spread[:, : self.outputs] = array if same else array.reshape(self.groups, self.outputs)
        return spread.reshape(self.groups, self.vectors, lanes)

    def packed_weights(self, weight: NDArray[Any]) -> NDArray[Any]:
        """(groups * outputs, inputs, FY, FX) as (groups, vectors, FY, FX, words, lanes, depth)."""
        lanes, depth = self.packing.lanes, self.packing.depth
        shape = (self.groups, self.vectors * lanes, self.words * depth, *self.kernel)
        filled = np.zeros(shape, self.packing.weight)
        own = (self.groups, self.outputs, self.inputs, *self.kernel)
        filled[:, : self.outputs, : self.inputs] = weight.reshape(own)
        split = filled.reshape(self.groups, self.vectors, lanes, self.words, depth, *self.kernel)
        return np.ascontiguousarray(split.transpose(0, 1, 5, 6, 3, 2, 4))

    def pack_input(self, d: Definition, read: Read) -> te.Tensor:
        """The input packed and padded."""
        packing = self.packing
        outside = tirx.const(packing.offset, packing.input)

        def at(n: Expr, b: Expr, g: Expr, y: Expr, x: Expr, c: Expr, i: Expr) -> Expr:
            channel = c * packing.depth + i
            value, inside = read(n, b, g, channel, y, x)
            if packing.offset:
                value = value.astype("int32") + packing.offset
            if self.inputs % packing.depth:
                inside = [*inside, channel < self.inputs]
            value = value.astype(packing.input)
            return tirx.if_then_else(tirx.all(*inside), value, outside) if inside else value

        sizes = (self.batch, self.groups, *self.footprint, self.words, packing.depth)
        return te.compute((d.images, *sizes), at, name="packed")

    def accumulate(self, d: Definition, packed: te.Tensor, weight: At) -> te.Tensor:
        """The sums; `weight` is at (n, b, g, k, fy, fx, c, lane, i)."""
        packing, (sy, sx), (dy, dx) = self.packing, self.stride, self.dilation
        extents = (*self.kernel, self.words, packing.depth)
        fy, fx, c, i = axes = [
            te.reduce_axis((0, extent), name)
            for extent, name in zip(extents, ("fy", "fx", "c", "i"), strict=True)
        ]

        def at(n: Expr, b: Expr, g: Expr, k: Expr, oy: Expr, ox: Expr, lane: Expr) -> Expr:
            x = packed[n, b, g, oy * sy + fy * dy, ox * sx + fx * dx, c, i].astype(packing.sum)
            w = weight(n, b, g, k, fy, fx, c, lane, i).astype(packing.sum)
            return te.sum(x * w, axis=axes)

        return te.compute(self._blocks(d), at, name="acc")

    def _blocks(self, d: Definition) -> tuple[Expr, ...]:
        rest = (self.batch, self.groups, self.vectors, self.pixels[0], self.width)
        return (d.images, *rest, self.packing.lanes)

    def finish(
        self,
        d: Definition,
        epilogue: Requantise,
        acc: te.Tensor,
        sums: NDArray[np.int64] | int,
        residual: Residual | None,
        dtype: str,
    ) -> te.Tensor:
        """The epilogue on vectors of channels; `sums` are those of the weights, by channel."""
        constants = Epilogue.of(d, epilogue, self.blocked, -self.packing.offset * sums)
        added = None if residual is None else self._pack_residual(d, residual)

        def at(*index: Expr) -> Expr:
            _, _, g, k, _, _, lane = index
            other = None if added is None else added[index]
            return constants.apply(acc[index], (g, k, lane), other).astype(dtype)

        return te.compute(self._blocks(d), at, name="blocked")

    def kept(self, d: Definition, acc: te.Tensor) -> te.Tensor:
        """The accumulators as they are, for an epilogue along another axis than the channels."""
        return te.compute(self._blocks(d), lambda *index: acc[index], name="blocked")

    def _pack_residual(self, d: Definition, residual: Residual) -> te.Tensor:
        """The residual by block, 0 where the block holds no output."""

        def at(n: Expr, b: Expr, g: Expr, k: Expr, oy: Expr, ox: Expr, lane: Expr) -> Expr:
            channel = k * self.packing.lanes + lane
            value = residual.at(n, b, g * self.outputs + channel, oy, ox)
            inside = tirx.all(channel < self.outputs, ox < self.pixels[1])
            return tirx.if_then_else(inside, value, tirx.const(0, residual.dtype))

        return te.compute(self._blocks(d), at, name="residual")

    def unblocked(self, blocked: te.Tensor) -> At:
        """The value of (n, b, channel, oy, ox)."""
        lanes = self.packing.lanes

        def at(n: Expr, b: Expr, channel: Expr, oy: Expr, ox: Expr) -> Expr:
            own = channel % self.outputs
            return blocked[n, b, channel // self.outputs, own // lanes, oy, ox, own % lanes]

        return at

    def schedule(self) -> Schedules:
        """Tiles of `blocked` in registers, shared among cores; the packing rows too."""

        def apply(s: Schedule) -> None:
            blocked, acc = s.get_sblock("blocked"), s.get_sblock("acc")
            n, b, g, k, oy, ox, lane = s.get_loops(blocked)
            k, inner_k = s.split(k, [None, self.tile[0]])
            ox, inner_x = s.split(ox, [None, self.tile[1]])
            s.reorder(n, b, g, k, oy, ox, inner_k, inner_x, lane)
            s.parallel(s.fuse(n, b, g, k, oy))
            s.compute_at(acc, ox, preserve_unit_loops=True)
            s.vectorize(lane)
            self._schedule_sums(s, acc)
            for block in s.get_child_blocks(s.get_sblock("root")):
                inner = INNER_LOOPS.get(s.get(block).name_hint)
                if inner is not None:
                    share(s, block, inner)

        return apply

    def _schedule_sums(self, s: Schedule, acc: SBlockRV) -> None:
        """One tile: every word of the input meets all its accumulators."""
        k, _, x, lane, fy, fx, c, i = s.get_loops(acc)[-8:]
        dot = self.packing.dot
        s.reorder(fy, fx, c, k, x, *((i, lane) if dot is None else (lane, i)))
        s.unroll(k)
        s.unroll(x)
        if dot is None:
            s.vectorize(lane)
        start = s.decompose_reduction(acc, fy)
        s.vectorize(s.get_loops(start)[-1])
        if dot is not None:
            s.tensorize(lane, register(dot))
