"""One operator on the host as a C function: plain loops over exact integers."""

from __future__ import annotations

import math
from typing import assert_never

import numpy as np

from intaglio.compiler.tensor import channel_axis
from intaglio.compiler.workload import (
    BatchMatMul,
    Concat,
    Constant,
    Conv2d,
    Eltwise,
    Expand,
    Gather,
    Host,
    MatMul,
    Multiply,
    Norm,
    Op,
    Pad,
    Pool,
    Reduce,
    Requantise,
    Rescale,
    Reshape,
    Resize,
    Slice,
    Softmax,
    Transpose,
    inputs,
    outputs,
)
from intaglio.errors import UnsupportedError
from intaglio.templates.c_text import (
    Lines,
    array,
    comment,
    element_type,
    nest,
    place,
    row_major,
    stretched,
)
from intaglio.templates.host_moves import Moves


def result_names(op: Op) -> list[str]:
    """How a function calls what it makes: y, or y0, y1, ... of an island of several results."""
    made = outputs(op)
    return [f"y{at}" for at in range(len(made))] if len(made) > 1 else ["y"]


class Function(Moves):
    """The text of one operator: operands x0, x1, ... in the order of `inputs`, the result y."""

    @property
    def prototype(self) -> str:
        """The declaration, without its semicolon."""
        operands = [f"const {kind} *x{at}" for at, kind in enumerate(self._types(inputs(self.op)))]
        made = zip(self._types(outputs(self.op)), result_names(self.op), strict=True)
        results = [f"{kind} *{name}" for kind, name in made]
        return f"void {self.name}({', '.join([*operands, *results])})"

    def _types(self, names: tuple[str, ...]) -> list[str]:
        return [element_type(self.workload.tensor(name).element) for name in names]

    def lines(self) -> Lines:
        """Its numbers, then the function."""
        body = self._body()
        shape = "x".join(map(str, self.y.shape))
        return [
            f"/* {comment(self.op.name)}: {type(self.op).__name__} to {shape}. */",
            *self.constants,
            f"{self.prototype} {{",
            *(f"  {line}" for line in body),
            "}",
            "",
        ]

    def _body(self) -> Lines:
        match self.op:
            case Reshape() | Transpose() | Slice() | Expand() | Pad() | Gather() | Constant():
                return self.moved(self.op)
            case Resize():
                return self.resized(self.op)
            case Concat():
                return self._concat(self.op)
            case Eltwise() | Rescale():
                return self._each(self.op.epilogue, f"x0[{place(row_major(self.y.shape), 'i')}]")
            case Multiply():
                return self._multiply(self.op)
            case Reduce():
                return self._reduce(self.op)
            case MatMul() | BatchMatMul():
                return self._product(self.op)
            case Conv2d():
                return self._convolve(self.op)
            case Pool():
                return self._pool(self.op)
            case Softmax():
                return self._softmax(self.op)
            case Norm():
                return self._norm(self.op)
            case Host():
                raise UnsupportedError(
                    f"{self.op.name}: calls of PyTorch have no C; supply the function that "
                    "network.h declares"
                )
            case _:
                assert_never(self.op)

    # Sums, products, and the requantisation that ends them.

    def _finish(
        self, epilogue: Requantise, acc: str, at: str, channel: str, label: str = ""
    ) -> Lines:
        """Statements that make y[at] from an accumulator; `channel` is its index."""
        table = f"{self.name}_channels{label}"
        count = self._channels(epilogue, table)
        r = "0"
        if epilogue.residual is not None:
            r = f"x{len(inputs(self.op)) - 1}[{at}]"
        of = f"&{table}[{channel if count > 1 else 0}]"
        value = f"host_requantise({acc}, {r}, {of}, {epilogue.lo}, {epilogue.hi})"
        if epilogue.table is not None:
            entries = self.workload.constants[epilogue.table]
            self.constants += array(f"{self.name}_table{label}", "int32_t", entries)
            value = f"{self.name}_table{label}[{value} & 255]"
        return [f"y[{at}] = ({element_type(self.y.element)}){value};"]

    def _channels(self, epilogue: Requantise, name: str) -> int:
        """Note the constants of every channel under `name`; how many there are."""
        numbers = [epilogue.bias, epilogue.multiplier, epilogue.residual_multiplier, epilogue.shift]
        arrays = [
            np.zeros(1, np.int64)
            if key is None
            else self.workload.constants[key].reshape(-1).astype(np.int64)
            for key in numbers
        ]
        rows = np.broadcast_arrays(*arrays)
        self.constants.append(f"static const host_channel_t {name}[] = {{")
        for bias, multiplier, residual, shift in zip(*rows, strict=True):
            self.constants.append(f"  {{INT64_C({bias}), {multiplier}, {residual}, {shift}}},")
        self.constants.append("};")
        return len(rows[0])

    def _each(self, epilogue: Requantise, acc: str) -> Lines:
        """Every element of y from an accumulator at the same place."""
        at = place(row_major(self.y.shape), "i")
        channel = f"i{channel_axis(len(self.y.shape))}"
        return nest(self.y.shape, "i", self._finish(epilogue, acc, at, channel))

    def _multiply(self, op: Multiply) -> Lines:
        first, second = (
            place(stretched(self.operand(index).shape, self.y.shape), "i") for index in (0, 1)
        )
        return self._each(op.epilogue, f"(int64_t)x0[{first}] * x1[{second}]")

    def _concat(self, op: Concat) -> Lines:
        lines: Lines = []
        before = 0
        strides = row_major(self.y.shape)
        for index, epilogue in enumerate(op.epilogues):
            shape = self.operand(index).shape
            at = place(strides, "i", before * strides[op.axis])
            acc = f"x{index}[{place(row_major(shape), 'i')}]"
            channel = f"i{channel_axis(len(shape))}"
            lines += nest(shape, "i", self._finish(epilogue, acc, at, channel, f"_{index}"))
            before += shape[op.axis]
        return lines

    def _reduce(self, op: Reduce) -> Lines:
        shape, own = self.operand().shape, row_major(self.operand().shape)
        axes = [axis % len(shape) for axis in op.axes]
        kept = [axis for axis in range(len(shape)) if axis not in axes]
        source = place([own[axis] for axis in kept], "o")
        source += f" + {place([own[axis] for axis in axes], 'k')}"
        start, add = ("0", f"acc += x0[{source}];")
        if op.kind == "max":
            start, add = (
                f"{self.operand().element.lo}",
                f"if (x0[{source}] > acc) acc = x0[{source}];",
            )
        outer = [shape[axis] for axis in kept]
        at = place(row_major(outer), "o")
        body = [f"int64_t acc = {start};", *nest([shape[axis] for axis in axes], "k", [add])]
        if op.epilogue is None:
            body.append(f"y[{at}] = ({element_type(self.y.element)})acc;")
        else:
            body += self._finish(op.epilogue, "acc", at, self._channel_of(at))
        return nest(outer, "o", body)

    def _channel_of(self, at: str) -> str:
        """The channel of the element at row-major index `at` of y."""
        axis = channel_axis(len(self.y.shape))
        inner = math.prod(self.y.shape[axis + 1 :])
        return f"({at}) / {inner}u % {self.y.shape[axis]}u"

    def _product(self, op: MatMul | BatchMatMul) -> Lines:
        """Rows of x0 with columns of a constant, or of x1 in the matrix of the same index."""
        *leading, rows, depth = self.operand().shape
        columns, matrices = self.y.shape[-1], math.prod(leading)
        if isinstance(op, MatMul):
            right = self._weight(op.weight)
            right += f"[i2 * {depth}u + k0]"
        else:
            place = f"i2 * {depth}u + k0" if op.transposed else f"k0 * {columns}u + i2"
            right = f"x1[i0 * {depth * columns}u + {place}]"
        left = f"x0[(i0 * {rows}u + i1) * {depth}u + k0]"
        at = f"(i0 * {rows}u + i1) * {columns}u + i2"
        body = [
            "int64_t acc = 0;",
            *nest((depth,), "k", [f"acc += (int64_t){left} * {right};"]),
            *self._finish(op.epilogue, "acc", at, self._channel_of(at)),
        ]
        return nest((matrices, rows, columns), "i", body)

    def _weight(self, name: str) -> str:
        kind = element_type(self.workload.tensor(name).element)
        self.constants += array(f"{self.name}_weight", kind, self.workload.constants[name])
        return f"{self.name}_weight"

    # Windows.

    def _convolve(self, op: Conv2d) -> Lines:
        outputs, depth, *kernel = self.workload.constants[op.weight].shape
        weight = f"{self._weight(op.weight)}[((i1 * {depth}u + k0) * {kernel[0]}u + k1)"
        weight += f" * {kernel[1]}u + k2]"
        inside, x = self._tap(f"(i1 / {outputs // op.groups}u * {depth}u + k0)")
        add = f"if ({inside}) acc += (int64_t){x} * {weight};"
        position = _position(op.stride, op.padding, op.dilation, ("k1", "k2"))
        inner = nest((depth, *kernel), "k", [*position, add])
        return self._windows(["int64_t acc = 0;", *inner], op.epilogue)

    def _pool(self, op: Pool) -> Lines:
        inside, x = self._tap("i1")
        start, add = "0", f"if ({inside}) acc += {x};"
        if op.kind == "max":
            start, add = f"{self.operand().element.lo}", f"if ({inside} && {x} > acc) acc = {x};"
        position = _position(op.stride, op.padding, (1, 1), ("k0", "k1"))
        inner = nest(op.kernel, "k", [*position, add])
        return self._windows([f"int64_t acc = {start};", *inner], op.epilogue)

    def _tap(self, channel: str) -> tuple[str, str]:
        """Whether (fy, fx) lies in the map, and the input's element there."""
        _, channels, height, width = self.operand().shape
        inside = f"fy >= 0 && fy < {height} && fx >= 0 && fx < {width}"
        row = f"((i0 * {channels}u + {channel}) * {height}u + (size_t)fy)"
        return inside, f"x0[{row} * {width}u + (size_t)fx]"

    def _windows(self, accumulate: Lines, epilogue: Requantise | None) -> Lines:
        """`accumulate` for every element of y, then its epilogue."""
        _, channels, height, width = self.y.shape
        at = f"((i0 * {channels}u + i1) * {height}u + i2) * {width}u + i3"
        end = [f"y[{at}] = ({element_type(self.y.element)})acc;"]
        if epilogue is not None:
            end = self._finish(epilogue, "acc", at, "i1")
        return nest(self.y.shape, "i", [*accumulate, *end])

    # Rows.

    def _softmax(self, op: Softmax) -> Lines:
        *outer, length = self.y.shape
        at = f"{place(row_major(self.y.shape)[:-1], 'i')} + k0"
        kept = "1"
        if op.mask is not None:
            *strides, last = stretched(self.operand(1).shape, self.y.shape)
            kept = f"x1[{place(strides, 'i')} + k0 * {last}u] != 0"
        power = f"host_power(highest - x0[{at}], {op.multiplier}, {op.shift}, host_exponential)"
        result = f"host_round({power} * row.reciprocal, row.shift)"
        element = element_type(self.y.element)

        def over(statement: str) -> Lines:
            return nest((length,), "k", [statement])

        return nest(
            outer,
            "i",
            [
                f"int64_t highest = {self.operand().element.lo}, sum = 0;",
                *over(f"if ({kept} && x0[{at}] > highest) highest = x0[{at}];"),
                *over(f"if ({kept}) sum += {power};"),
                f"const host_softmax_t row = host_softmax(sum, {self.y.element.bits});",
                *over(f"y[{at}] = ({element})({kept} ? {result} : 0);"),
            ],
        )

    def _norm(self, op: Norm) -> Lines:
        shape = self.y.shape
        rows = shape[0] * op.groups if op.kind == "group" else math.prod(shape[:-1])
        count = self.y.elements // rows
        at = f"i0 * {count}u + k0"
        centred = "sum" if op.kind != "rms" else "0"
        z = f"host_round(({count} * (int64_t)x0[{at}] - {centred}) * row.root, row.shift)"
        channel = self._channel_of(at) if op.kind == "group" else "k0"
        return nest(
            (rows,),
            "i",
            [
                "int64_t sum = 0, squares = 0;",
                *nest(
                    (count,),
                    "k",
                    [f"sum += x0[{at}];", f"squares += (int64_t)x0[{at}] * x0[{at}];"],
                ),
                f"const host_norm_t row = host_norm({count}, {centred}, squares, "
                f"INT64_C({op.epsilon}), {op.fraction}, host_seed);",
                *nest((count,), "k", self._finish(op.epilogue, z, at, channel)),
            ],
        )


def _position(
    stride: tuple[int, int],
    padding: tuple[int, ...],
    dilation: tuple[int, int],
    taps: tuple[str, str],
) -> Lines:
    """Where in the input a tap falls; outside of it when in the padding."""
    return [
        f"const long {name} = (long)({index} * {step}u + {tap} * {apart}u) - {before};"
        for name, index, step, tap, apart, before in zip(
            ("fy", "fx"),
            ("i2", "i3"),
            stride,
            taps,
            dilation,
            (padding[0], padding[2]),
            strict=True,
        )
    ]
