"""Which work of the npu an operator is, over which extents.

The window reads bytes: when a pool, sum or rescaling reads a wide tensor the array executes it,
with weights of 1 where the operator has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from intaglio.compiler.workload import (
    BatchMatMul,
    Concat,
    Conv2d,
    Eltwise,
    MatMul,
    Norm,
    Op,
    Pool,
    Requantise,
    Rescale,
    Reshape,
    Softmax,
    Transpose,
    Workload,
    epilogues,
    inputs,
)
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.geometry import Axis
from intaglio.templates.npu.isa import MAX_TAPS, Opcode
from intaglio.templates.npu.layout import Form, Map, TensorLayout, halves_of
from intaglio.templates.npu.work import (
    ArrayShape,
    ArrayWork,
    RowShape,
    RowWork,
    Touch,
    WindowShape,
    WindowWork,
    Work,
    blocks_of,
)


def natural_map(shape: tuple[int, ...]) -> Map:
    """The feature map of a tensor's own shape; a vector is a map of one pixel.

    Of rows of features (1, rows, features) the features are the channels, and the rows the pixels.
    """
    if is_rows(shape):
        return shape[2], 1, shape[1]
    channels, *rest = shape[1:] if len(shape) > 1 else (1,)
    match rest:
        case []:
            return channels, 1, 1
        case [width]:
            return channels, 1, width
        case [height, width]:
            return channels, height, width
    return channels, 1, _product(rest)


def form_of(op: Op, shape: tuple[int, ...]) -> Form:
    """How `op` reads or makes a tensor: its natural map, or heads of rows of features."""
    if isinstance(op, BatchMatMul | Softmax) and len(shape) == 4:
        return Form((shape[3], 1, shape[2]), last=True, heads=shape[1])
    return Form(natural_map(shape), is_rows(shape))


def is_rows(shape: tuple[int, ...]) -> bool:
    """Whether a tensor of this shape is rows of features, which have their channels last."""
    return len(shape) == 3


def _product(extents: list[int]) -> int:
    total = 1
    for extent in extents:
        total *= extent
    return total


def is_depthwise(op: Op, workload: Workload) -> bool:
    """Whether the window unit can execute the convolution `op`."""
    if not isinstance(op, Conv2d):
        return False
    outputs, per_group, kernel_y, kernel_x = workload.tensor(op.weight).shape
    return per_group == 1 and op.groups == outputs and kernel_y * kernel_x <= MAX_TAPS


def reads_wide(op: Op, workload: Workload) -> bool:
    """Whether an operand or residual of `op` has more than 8 bits."""
    return any(halves_of(workload.tensor(name).element) > 1 for name in inputs(op))


def axes(op: Op, workload: Workload, stored: Map) -> tuple[Axis, Axis]:
    """Windows along y and x of `op` over an input stored as the map `stored`."""
    _, height, width = stored
    match op:
        case Conv2d():
            _, _, out_y, out_x = workload.tensor(op.output).shape
            _, _, kernel_y, kernel_x = workload.tensor(op.weight).shape
            return (
                Axis(height, out_y, kernel_y, op.stride[0], op.dilation[0], op.padding[0], True),
                Axis(width, out_x, kernel_x, op.stride[1], op.dilation[1], op.padding[2]),
            )
        case Pool():
            _, _, out_y, out_x = workload.tensor(op.output).shape
            return (
                Axis(height, out_y, op.kernel[0], op.stride[0], 1, op.padding[0], True),
                Axis(width, out_x, op.kernel[1], op.stride[1], 1, op.padding[2]),
            )
        case MatMul() if not is_rows(workload.tensor(op.output).shape):
            return Axis(height, 1, height), Axis(width, 1, width)
        case MatMul() | BatchMatMul() | Eltwise() | Rescale() | Concat():
            return Axis(height, height), Axis(width, width)
        case _:
            raise AssertionError(f"{op.name}: the npu has no instruction for it")


def folded_columns(x: Axis, pixel_bytes: int, lanes: int) -> int:
    """Steps of the array along fx when `lanes / pixel_bytes` columns are folded into one."""
    return blocks_of(x.reach, lanes // pixel_bytes)


def translate(
    op: Op, workload: Workload, layouts: Mapping[str, TensorLayout], design: NpuDesign
) -> Work | None:
    """What the npu does for `op`; None for a move, which costs nothing."""
    match op:
        case Reshape() | Transpose():
            return None
        case BatchMatMul():
            return _heads_work(op, workload, layouts[op.input], design)
        case Concat():
            return _joined_work(op, op.inputs, workload, layouts, design)
        case MatMul():
            return _product_work(op, workload, layouts[op.input], design)
        case Conv2d():
            layout = layouts[op.input]
            narrow = layout.kind == "blocked" and not reads_wide(op, workload)
            if narrow and is_depthwise(op, workload):
                return _window_work(op, workload, layout)
            return _product_work(op, workload, layout, design)
        case Pool() | Eltwise() | Rescale():
            if reads_wide(op, workload):
                return _joined_work(op, (op.input,), workload, layouts, design)
            return _window_work(op, workload, layouts[op.input])
        case Norm() | Softmax():
            return _row_work(op, workload, layouts)
        case _:
            raise AssertionError(f"{op.name}: the npu has no instruction for it")


def _product_work(
    op: Conv2d | MatMul, workload: Workload, layout: TensorLayout, design: NpuDesign
) -> ArrayWork:
    y, x = axes(op, workload, layout.map)
    outputs = workload.tensor(op.weight).shape[0]
    groups = op.groups if isinstance(op, Conv2d) else 1
    packed = layout.kind == "packed"
    pixel_bytes = layout.pixel_bytes if packed else 0
    columns = folded_columns(x, pixel_bytes, design.lanes) if packed else x.kernel
    whole = (Touch(0, 0, 1 if packed else layout.blocks),)
    count = blocks_of(outputs, design.cols)
    touched = (
        (whole,) * count
        if packed or groups == 1
        else tuple(_group_touch(i, layout.map[0], outputs, groups, design) for i in range(count))
    )
    element = workload.tensor(op.weight).element
    types = (
        design.packed_bits(element.lo, element.hi),
        (layout.halves,),
        *_types(op, op.epilogue, workload),
    )
    shape = ArrayShape(y, x, columns, pixel_bytes, outputs, touched, *types)
    return ArrayWork(op, shape, (op.input,), op.epilogue)


def _heads_work(
    op: BatchMatMul, workload: Workload, layout: TensorLayout, design: NpuDesign
) -> ArrayWork:
    y, x = axes(op, workload, layout.map)
    outputs, blocks = workload.tensor(op.output).shape[-1], layout.head_blocks
    touched = tuple(
        (Touch(0, head * blocks, (head + 1) * blocks),)
        for head in range(layout.heads)
        for _ in range(blocks_of(outputs, design.cols))
    )
    types = 8, (layout.halves,), *_types(op, op.epilogue, workload)
    filled: Literal["row", "column"] = "column" if op.transposed else "row"
    shape = ArrayShape(y, x, x.kernel, 0, outputs, touched, *types, layout.heads, filled)
    return ArrayWork(op, shape, (op.input,), op.epilogue)


def _group_touch(
    index: int, channels: int, outputs: int, groups: int, design: NpuDesign
) -> tuple[Touch, ...]:
    """Input blocks of the groups that output block `index` belongs to."""
    last = min((index + 1) * design.cols, outputs) - 1
    per_output, per_input = outputs // groups, channels // groups
    first_channel = index * design.cols // per_output * per_input
    end_channel = (last // per_output + 1) * per_input
    return (Touch(0, first_channel // design.lanes, blocks_of(end_channel, design.lanes)),)


def _joined_work(
    op: Concat | Pool | Eltwise | Rescale,
    operands: tuple[str, ...],
    workload: Workload,
    layouts: Mapping[str, TensorLayout],
    design: NpuDesign,
) -> ArrayWork:
    """Operands that keep their channels, one behind the other, with weights of 1."""
    channels = [layouts[name].map[0] for name in operands]
    y, x = axes(op, workload, layouts[operands[0]].map)
    total = sum(channels)
    touched = tuple(
        _joined_touch(i * design.cols, min((i + 1) * design.cols, total), channels, design)
        for i in range(blocks_of(total, design.cols))
    )
    epilogue = epilogues(op)[0]
    halves = tuple(layouts[name].halves for name in operands)
    types = design.weight_bits, halves, *_types(op, epilogue, workload)
    shape = ArrayShape(y, x, x.kernel, 0, total, touched, *types)
    return ArrayWork(op, shape, operands, epilogue)


def _joined_touch(
    first: int, end: int, channels: list[int], design: NpuDesign
) -> tuple[Touch, ...]:
    """Blocks of every operand that hold output channels `first` to `end - 1`."""
    touches, offset = [], 0
    for operand, count in enumerate(channels):
        low, high = max(first - offset, 0), min(end - offset, count)
        if low < high:
            touches.append(Touch(operand, low // design.lanes, blocks_of(high, design.lanes)))
        offset += count
    return tuple(touches)


def _types(op: Op, epilogue: Requantise | None, workload: Workload) -> tuple[int, int, bool]:
    """Bytes of an element of the result and of the residual, and whether there is a table."""
    made = halves_of(workload.tensor(op.output).element)
    if epilogue is None:
        return made, 0, False
    residual = epilogue.residual
    added = 0 if residual is None else halves_of(workload.tensor(residual).element)
    return made, added, epilogue.table is not None


_WINDOW_OPCODES = {"max": Opcode.WINDOW_MAX, "average": Opcode.WINDOW_SUM}


def _window_work(
    op: Conv2d | Pool | Eltwise | Rescale, workload: Workload, layout: TensorLayout
) -> WindowWork:
    y, x = axes(op, workload, layout.map)
    opcode = Opcode.WINDOW_SUM
    if isinstance(op, Conv2d):
        opcode = Opcode.WINDOW_MAC
    elif isinstance(op, Pool):
        opcode = _WINDOW_OPCODES[op.kind]
    fill = workload.tensor(op.input).element.lo if opcode is Opcode.WINDOW_MAX else 0
    own = epilogues(op)
    epilogue = own[0] if own else None
    made, residual, table = _types(op, epilogue, workload)
    taps = opcode is Opcode.WINDOW_MAC
    shape = WindowShape(y, x, layout.blocks, taps, made, bool(residual), table)
    return WindowWork(op, shape, opcode, fill & 0xFF, epilogue)


def _row_work(
    op: Norm | Softmax, workload: Workload, layouts: Mapping[str, TensorLayout]
) -> RowWork:
    layout, made = layouts[op.input], halves_of(workload.tensor(op.output).element)
    features, _, rows = layout.map
    flags = layouts[op.mask] if isinstance(op, Softmax) and op.mask else None
    shape = RowShape(
        norm=isinstance(op, Norm),
        rows=rows,
        blocks=layout.head_blocks,
        halves=layout.halves,
        made=made,
        mask=flags.plane_words if flags else 0,
        heads=layout.heads,
        masks=flags is not None and flags.heads > 1,
    )
    return RowWork(op, shape, features)
