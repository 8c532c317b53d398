"""What the definitions of operators share: their arguments, their epilogue, types in memory.

A tensor (d0, d1, ...) is an array (images, d0, d1, ...) of the narrowest machine type that holds
its element type, in row-major order; the number of images is a variable of the kernel.

TVM and LLVM assume that signed integers do not overflow, so every sum is made in a type that
provably holds it: accumulators in 32 bits where the weights' bound allows and in 64 bits otherwise,
and the epilogue, whose sum fits 48 bits, in 64 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx
from tvm.ir import Expr
from tvm.s_tir import Schedule

from intaglio.compiler.kernels.dots import Dot
from intaglio.compiler.numerics import TABLE_ENTRIES
from intaglio.compiler.workload import ElementType, Op, Requantise, Shape, Workload, channel_axis

At = Callable[..., Expr]
"""An expression for each index (image, i0, i1, ...)."""
Schedules = Callable[[Schedule], None]
"""Schedules the blocks of one kernel, in place."""

Defined = tuple[te.Tensor, Schedules]
"""What a kernel computes, and how."""

MACHINE_TYPES = ("int8", "uint8", "int16", "uint16", "int32", "int64")
TABLE_MASK = TABLE_ENTRIES - 1


def machine_type(lo: int, hi: int) -> str:
    """The narrowest machine type that holds lo..hi."""
    for name in MACHINE_TYPES:
        if np.iinfo(name).min <= lo and hi <= np.iinfo(name).max:
            return name
    raise AssertionError(f"{lo}..{hi} exceeds 64 bits")


def storage(element: ElementType) -> str:
    """The machine type in which values of `element` lie in memory."""
    if element.is_float:
        return "float32"
    return machine_type(element.lo, element.hi)


def sum_type(bound: int) -> str:
    """The type of an accumulator whose magnitude is at most `bound`."""
    return "int32" if bound <= np.iinfo(np.int32).max else "int64"


@dataclass(frozen=True, slots=True)
class Argument:
    """A parameter of a kernel: an activation by name, or a constant's packed numbers."""

    placeholder: te.Tensor
    value: str | NDArray[Any]


@dataclass
class Definition:
    """One operator's kernel in the making: collects arguments in the order they are asked for."""

    workload: Workload
    op: Op
    dots: tuple[Dot, ...] = ()
    images: Expr = field(default_factory=lambda: tirx.Var("images", "int32"))
    arguments: list[Argument] = field(default_factory=list)

    def shape(self, name: str) -> Shape:
        """The shape of a tensor."""
        return self.workload.tensor(name).shape

    def element(self, name: str) -> ElementType:
        """The element type of a tensor."""
        return self.workload.tensor(name).element

    def activation(self, name: str) -> te.Tensor:
        """An activation (images, d0, d1, ...)."""
        shape = (self.images, *self.shape(name))
        return self._argument(shape, storage(self.element(name)), name)

    def constant(self, array: NDArray[Any]) -> te.Tensor:
        """A constant, of the array's shape and type."""
        return self._argument(array.shape, str(array.dtype), np.ascontiguousarray(array))

    def _argument(self, shape: Sequence[Expr], dtype: str, value: str | NDArray[Any]) -> te.Tensor:
        placeholder = te.placeholder(shape, dtype, f"argument{len(self.arguments)}")
        self.arguments.append(Argument(placeholder, value))
        return placeholder

    def output(self, at: At) -> te.Tensor:
        """The operator's output, one value of `at` for each index."""
        dtype = storage(self.element(self.op.output))
        shape = (self.images, *self.shape(self.op.output))
        return te.compute(shape, lambda *index: at(*index).astype(dtype), name="y")

    def finished(self, epilogue: Requantise | None, shape: Shape, accumulator: At) -> At:
        """The epilogue on the accumulators of a tensor of `shape`; without one, themselves."""
        if epilogue is None:
            return accumulator
        axis = channel_axis(len(shape)) if shape else None
        channels = 1 if axis is None else shape[axis]
        constants = Epilogue.of(self, epilogue, lambda a: np.broadcast_to(a, (channels,)))
        residual = None if epilogue.residual is None else self.activation(epilogue.residual)

        def at(image: Expr, *index: Expr) -> Expr:
            added = None if residual is None else residual[(image, *index)]
            channel = tirx.const(0, "int32") if axis is None else index[axis]
            return constants.apply(accumulator(image, *index), (channel,), added)

        return at


@dataclass(frozen=True, slots=True)
class Epilogue:
    """`table[clamp((acc*m + r*mr + b) >> s, lo, hi) mod 256]` on expressions."""

    multiplier: te.Tensor
    shift: te.Tensor
    bias: te.Tensor
    residual_multiplier: te.Tensor | None
    table: te.Tensor | None
    lo: int
    hi: int

    @staticmethod
    def of(
        d: Definition,
        epilogue: Requantise,
        arrange: Callable[[NDArray[Any]], NDArray[Any]],
        extra: NDArray[np.int64] | int = 0,
    ) -> Epilogue:
        """The constants of `epilogue` as arguments, those by channel arranged by `arrange`.

        `extra`, by channel, belongs to every accumulator.
        """
        numbers = d.workload.constants
        wide = numbers[epilogue.bias].astype(np.int64)
        bias = wide + extra * numbers[epilogue.multiplier].astype(np.int64)

        def by_channel(name: str, dtype: str) -> te.Tensor:
            return d.constant(arrange(numbers[name]).astype(dtype))

        factor, table = epilogue.residual_multiplier, epilogue.table
        return Epilogue(
            by_channel(epilogue.multiplier, "int32"),
            by_channel(epilogue.shift, "int32"),
            d.constant(arrange(bias)),
            None if factor is None else by_channel(factor, "int32"),
            None if table is None else d.constant(numbers[table].astype("int32")),
            epilogue.lo,
            epilogue.hi,
        )

    def apply(self, accumulator: Expr, channel: Sequence[Expr], residual: Expr | None) -> Expr:
        """The epilogue of one accumulator, its constants at the index `channel`."""

        def wide(value: Expr) -> Expr:
            return value.astype("int64")

        total = wide(accumulator) * wide(self.multiplier[tuple(channel)])
        if residual is not None and self.residual_multiplier is not None:
            total = total + wide(residual) * wide(self.residual_multiplier[tuple(channel)])
        total = (total + self.bias[tuple(channel)]) >> wide(self.shift[tuple(channel)])
        lo, hi = (tirx.const(limit, "int64") for limit in (self.lo, self.hi))
        clamped = te.max(te.min(total, hi), lo)
        if self.table is None:
            return clamped
        return self.table[clamped.astype("int32") & TABLE_MASK]
