"""Operators on the host that move elements, as C: loops that copy from place to place."""

from __future__ import annotations

import math

import numpy as np

from intaglio.compiler.numerics.resize import WEIGHT_BITS, linear_taps
from intaglio.compiler.tensor import Tensor
from intaglio.compiler.workload import (
    Constant,
    Expand,
    Gather,
    Op,
    Pad,
    Reshape,
    Resize,
    Slice,
    Transpose,
    Workload,
    inputs,
)
from intaglio.templates.c_text import (
    Lines,
    array,
    element_type,
    nest,
    place,
    row_major,
    stretched,
)

Move = Reshape | Transpose | Slice | Expand | Pad | Gather | Constant


class Moves:
    """The statements of operators that move elements, and what all operators have in common.

    Moves write through a volatile pointer, so that no compiler makes a call of memcpy or memset of
    their loops.  `constants` gathers the arrays that the statements read.
    """

    def __init__(self, workload: Workload, op: Op, name: str) -> None:
        self.workload, self.op, self.name = workload, op, name
        self.y = workload.tensor(op.output)
        self.constants: Lines = []

    def moved(self, op: Move) -> Lines:
        """Statements that make y of an operator that only moves elements."""
        return [f"volatile {element_type(self.y.element)} *to = y;", *self._moved(op)]

    def _moved(self, op: Move) -> Lines:
        match op:
            case Reshape():
                return nest((self.y.elements,), "i", [self._move("i0", "i0")])
            case Transpose() | Slice() | Expand():
                return self._view(*self._strides(op))
            case Pad():
                return self._pad(op)
            case Gather():
                return self._gather(op)
            case Constant():
                return self._constant(op)

    def operand(self, index: int = 0) -> Tensor:
        """The tensor that x0, x1, ... points to."""
        return self.workload.tensor(inputs(self.op)[index])

    def _strides(self, op: Transpose | Slice | Expand) -> tuple[int, list[int]]:
        """Where in the input an element of the output is: the first, and the step of each axis."""
        own = row_major(self.operand().shape)
        match op:
            case Transpose():
                return 0, [own[axis] for axis in op.permutation]
            case Slice():
                first = sum(start * stride for start, stride in zip(op.starts, own, strict=True))
                return first, [step * stride for step, stride in zip(op.steps, own, strict=True)]
            case Expand():
                return 0, stretched(self.operand().shape, self.y.shape)

    def _view(self, first: int, strides: list[int]) -> Lines:
        source, target = place(strides, "i", first), place(row_major(self.y.shape), "i")
        return nest(self.y.shape, "i", [self._move(target, source)])

    def _move(self, target: str, source: str) -> str:
        return f"to[{target}] = ({element_type(self.y.element)})x0[{source}];"

    def _pad(self, op: Pad) -> Lines:
        shape, strides = self.operand().shape, row_major(self.y.shape)
        first = sum(before * stride for before, stride in zip(op.before, strides, strict=True))
        moved = self._move(place(strides, "i", first), place(row_major(shape), "i"))
        return [
            *nest((self.y.elements,), "i", ["to[i0] = 0;"]),
            *nest(shape, "i", [moved]),
        ]

    def _gather(self, op: Gather) -> Lines:
        shape = self.operand().shape
        extent, inner = shape[op.axis], math.prod(shape[op.axis + 1 :])
        outer, count = math.prod(shape[: op.axis]), self.operand(1).elements
        body = [
            f"const int64_t k = host_clamp(x1[i1], 0, {extent - 1});",
            self._move(
                f"(i0 * {count}u + i1) * {inner}u + i2",
                f"(i0 * {extent}u + (size_t)k) * {inner}u + i2",
            ),
        ]
        return nest((outer, count, inner), "i", body)

    def _constant(self, op: Constant) -> Lines:
        values = self.workload.constants[op.value]
        self.constants += array(f"{self.name}_value", element_type(self.y.element), values)
        return nest((self.y.elements,), "i", [f"to[i0] = {self.name}_value[i0];"])

    def resized(self, op: Resize) -> Lines:
        """Statements that sum the two taps of every axis, and round once."""
        count = len(op.factors)
        sizes = zip(self.operand().shape[-count:], self.y.shape[-count:], op.factors, strict=True)
        factors = []
        for axis, (before, after, factor) in enumerate(sizes):
            taps = linear_taps(before, after, factor, op.aligned)
            weights = np.stack([(1 << WEIGHT_BITS) - taps.weight, taps.weight], axis=1)
            tables = {"at": np.stack([taps.lower, taps.upper], axis=1), "weight": weights}
            for table, values in tables.items():
                self.constants += array(f"{self.name}_{table}_{axis}", "int32_t", values)
            factors.append(f"{self.name}_weight_{axis}[i{axis + 1} * 2u + k{axis}]")
        source = place(row_major(self.operand().shape[-count:]), "p")
        inner = math.prod(self.operand().shape[-count:])
        positions = [
            f"const size_t p{axis} = (size_t){self.name}_at_{axis}[i{axis + 1} * 2u + k{axis}];"
            for axis in range(count)
        ]
        add = f"acc += (int64_t)x0[i0 * {inner}u + {source}] * {' * '.join(factors)};"
        outer = (math.prod(self.y.shape[:-count]), *self.y.shape[-count:])
        result = f"host_round(acc, {count * WEIGHT_BITS})"
        return nest(
            outer,
            "i",
            [
                "int64_t acc = 0;",
                *nest((2,) * count, "k", [*positions, add]),
                f"y[{place(row_major(outer), 'i')}] = ({element_type(self.y.element)}){result};",
            ],
        )
