"""What the npu refuses: one sentence an operator, with the way out."""

from __future__ import annotations

from itertools import product

from intaglio.compiler.workload import (
    BatchMatMul,
    Concat,
    Conv2d,
    Eltwise,
    MatMul,
    Norm,
    Op,
    Pool,
    Rescale,
    Reshape,
    Softmax,
    Transpose,
    Workload,
    channel_axis,
    epilogues,
    inputs,
)
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.layout import halves_of
from intaglio.templates.npu.memory_map import (
    entry_refusal,
    filler_of,
    input_layouts,
    reshape_refusal,
)
from intaglio.templates.npu.translate import reads_wide

MAX_PADDING = 255
MAX_WINDOW = 255
MAX_KERNEL = 1023
MAX_EXTENT = 65535


def supports(op: Op, workload: Workload, design: NpuDesign) -> str | None:
    """Why `design` cannot execute `op`, as one sentence with the way out; None when it can.

    No way out is named where only the host runs it.
    """
    return (
        _known(op)
        or _types(op, workload)
        or _extents(op, workload)
        or _channels(op, workload)
        or _tables(op, workload)
        or _own(op, workload, design)
        or _stored(op, workload, design)
    )


RUNS = (
    Conv2d, MatMul, BatchMatMul, Pool, Eltwise, Rescale, Concat, Norm, Softmax, Reshape, Transpose,
)  # fmt: skip
"""The operators that the npu has instructions for, or needs none."""
HEADS = (0, 2, 1, 3)
"""The permutation that makes heads of rows, or rows of all heads, and moves no data."""


def _known(op: Op) -> str | None:
    moves = isinstance(op, Transpose) and op.permutation != HEADS
    if isinstance(op, RUNS) and not moves:
        return None
    return f"{op.name}: the npu has no instruction for {type(op).__name__}"


def _types(op: Op, workload: Workload) -> str | None:
    for name in (*inputs(op), op.output):
        tensor = workload.tensor(name)
        if tensor.shape[0] != 1:
            return (
                f"{op.name}: tensor '{name}' is a batch of {tensor.shape[0]}; the npu runs one "
                "image at a time, so give example inputs with a batch of 1"
            )
        if tensor.element.hi > 0x7FFF or tensor.element.lo < -0x8000:
            return (
                f"{op.name}: tensor '{name}' holds {tensor.element}, the npu's elements have at "
                "most 15 bits and a sign; quantise it to fewer bits"
            )
    if isinstance(op, Conv2d | MatMul):
        weight = workload.tensor(op.weight).element
        if weight.lo < -128 or weight.hi > 127:
            return (
                f"{op.name}: weight '{op.weight}' holds {weight}, the npu's weights are signed 8 "
                "bits; quantise its weights to at most 8 bits"
            )
    if isinstance(op, BatchMatMul):
        other = workload.tensor(op.other).element
        if other.lo < -128 or other.hi > 127:
            return (
                f"{op.name}: multiplies by '{op.other}', which holds {other}, the npu's weights "
                "are signed 8 bits; quantise it to at most 8 bits with a sign"
            )
    return None


def _extents(op: Op, workload: Workload) -> str | None:
    for name in (*inputs(op), op.output):
        for extent in workload.tensor(name).shape[2:]:
            if extent > MAX_EXTENT:
                return (
                    f"{op.name}: tensor '{name}' is {extent} pixels long, the npu counts to "
                    f"{MAX_EXTENT}; split the feature map"
                )
    return None


def _channels(op: Op, workload: Workload) -> str | None:
    """Whether the channels of `op` are where the npu has them: see `natural_map`."""
    shape = workload.tensor(op.output).shape
    shared = all(workload.tensor(e.multiplier).elements == 1 for e in epilogues(op))
    if isinstance(op, Reshape | Transpose | BatchMatMul) or (
        isinstance(op, Eltwise | Rescale) and shared
    ):
        return None
    if isinstance(op, MatMul) and len(shape) not in (2, 3):
        return (
            f"{op.name}: makes '{op.output}' of shape {shape}, the npu's products are vectors "
            "(1, features) and rows (1, rows, features); reshape its input to rows"
        )
    if len(shape) > 4:
        return (
            f"{op.name}: makes '{op.output}' of shape {shape}, the npu's feature maps are "
            "(1, channels, y, x); reshape it to one"
        )
    return None


def _tables(op: Op, workload: Workload) -> str | None:
    """Whether the tables of `op` have entries of 8 bits."""
    for epilogue in epilogues(op):
        element = workload.tensor(op.output).element
        if epilogue.table is not None and halves_of(element) > 1:
            return (
                f"{op.name}: its table makes {element}, the npu's tables have entries of 8 bits; "
                "quantise its output to 8 bits"
            )
    return None


def _own(op: Op, workload: Workload, design: NpuDesign) -> str | None:
    match op:
        case Conv2d():
            kernel = workload.tensor(op.weight).shape[2:]
            return _padding(op.name, op.padding) or _kernel(op.name, kernel, MAX_KERNEL)
        case Pool(kind="max") if reads_wide(op, workload):
            return (
                f"{op.name}: takes the maximum of '{op.input}', which holds "
                f"{workload.tensor(op.input).element}, the npu compares 8 bits; quantise it to 8 "
                "bits"
            )
        case Pool():
            return _padding(op.name, op.padding) or _kernel(op.name, op.kernel, MAX_WINDOW)
        case BatchMatMul():
            return _product(op, workload, design)
        case Concat():
            return _concat(op, workload)
        case Norm():
            return _norm(op, workload, design)
        case Softmax():
            return _softmax(op, workload, design)
        case _:
            return None


def _padding(name: str, padding: tuple[int, ...]) -> str | None:
    if max(padding) <= MAX_PADDING:
        return None
    return f"{name}: padding of {max(padding)} pixels, the npu pads up to {MAX_PADDING}; pad less"


def _kernel(name: str, kernel: tuple[int, ...], limit: int) -> str | None:
    if max(kernel) <= limit:
        return None
    return (
        f"{name}: window of {kernel[0]}x{kernel[1]} pixels, the npu's reach {limit}; use two "
        "smaller windows one after the other"
    )


def _product(op: BatchMatMul, workload: Workload, design: NpuDesign) -> str | None:
    """Whether the array takes the right operand as it is stored, and what lies beyond it."""
    shape = workload.tensor(op.output).shape
    if len(shape) not in (3, 4):
        return (
            f"{op.name}: makes '{op.output}' of shape {shape}, the npu's products of activations "
            "are rows (1, rows, features) and heads of them (1, heads, rows, features); reshape "
            "its input to them"
        )
    if not design.row_lanes:
        return (
            f"{op.name}: is a product of activations, design '{design.name}' has row_lanes of 0 "
            "and so no array that takes both ways of them as weights; set row_lanes to 1, 2, 4 or 8"
        )
    if not op.transposed:
        return None
    features = workload.tensor(op.input).shape[-1]
    beyond = [filler_of(name, workload) for name in (op.input, op.other)]
    if features % design.lanes and all(beyond):
        return (
            f"{op.name}: the lanes beyond the last of its {features} features hold {beyond[0]} and "
            f"{beyond[1]}, the npu needs 0 in one of its operands there; make 0 a value of either, "
            f"or the features a multiple of {design.lanes}"
        )
    return None


def _concat(op: Concat, workload: Workload) -> str | None:
    if op.axis != channel_axis(len(workload.tensor(op.output).shape)):
        return (
            f"{op.name}: joins axis {op.axis}, the npu joins channels; make that axis the channels "
            "before"
        )
    ranges = {(epilogue.lo, epilogue.hi) for epilogue in op.epilogues}
    if len(ranges) > 1:
        return (
            f"{op.name}: its operands are clamped to different ranges, the npu has one for each "
            "block of channels; clamp the operands before they are joined"
        )
    for epilogue in op.epilogues:
        if epilogue.residual is not None or epilogue.table is not None:
            return (
                f"{op.name}: an operand has a residual or a table, which the npu cannot join; "
                "apply it before the concatenation"
            )
    return None


def _norm(op: Norm, workload: Workload, design: NpuDesign) -> str | None:
    """Whether the engines of rows are there, and the rows where they read them."""
    shape = workload.tensor(op.input).shape
    if op.kind == "group":
        return (
            f"{op.name}: normalises groups of channels, the npu normalises the features of a row; "
            "use a batch norm, which becomes part of the convolution before it"
        )
    reason = _rows(op, workload, design)
    if reason is not None:
        return reason
    padding = filler_of(op.input, workload)
    if padding and shape[-1] % design.lanes:
        return (
            f"{op.name}: reads '{op.input}', whose lanes beyond the last of its {shape[-1]} "
            f"features hold {padding}, the npu's norms need 0 there; make 0 a value that the "
            f"operator before it can give, or the features a multiple of {design.lanes}"
        )
    return None


def _rows(op: Norm | Softmax, workload: Workload, design: NpuDesign) -> str | None:
    """Whether there are engines of rows, and `op` is over rows."""
    shape, kind = workload.tensor(op.input).shape, type(op).__name__.lower()
    if not design.row_lanes:
        return (
            f"{op.name}: is a {kind}, design '{design.name}' has row_lanes of 0 and so no engine "
            "for it; set row_lanes to 1, 2, 4 or 8"
        )
    if len(shape) not in ((2, 3, 4) if isinstance(op, Softmax) else (2, 3)):
        heads = ", and of a softmax (1, heads, rows, features)" if isinstance(op, Softmax) else ""
        return (
            f"{op.name}: is a {kind} of '{op.input}' of shape {shape}, the npu's rows are (1, "
            f"features) and (1, rows, features){heads}; reshape its input to them"
        )
    return None


def _softmax(op: Softmax, workload: Workload, design: NpuDesign) -> str | None:
    """Whether `op` is over rows that the engine makes, under a mask that it reads."""
    reason = _rows(op, workload, design)
    if reason is not None or op.mask is None:
        return reason
    mask, shape = workload.tensor(op.mask), workload.tensor(op.input).shape
    row = (1,) * (len(shape) - 1) + shape[-1:]
    choices = product(*({1, n} for n in shape[:-1]))
    if mask.shape not in {(1, shape[-1]), *((*rows, shape[-1]) for rows in choices)}:
        return (
            f"{op.name}: its mask '{op.mask}' is of shape {mask.shape}, the npu takes one of "
            f"{shape} or a row of {row}; reshape or expand it"
        )
    if mask.element.lo < 0 or mask.element.hi > 1:
        return (
            f"{op.name}: its mask '{op.mask}' holds {mask.element}, the npu's masks are 0 and 1; "
            "compare it with 0 before"
        )
    return None


def _stored(op: Op, workload: Workload, design: NpuDesign) -> str | None:
    """Whether `op` can read its inputs as the operators before it leave them."""
    return entry_refusal(op, workload) or reshape_refusal(
        op, workload, input_layouts(op, workload, design)
    )
