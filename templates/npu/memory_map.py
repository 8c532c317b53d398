"""Decides how every activation tensor is stored, and gives it a region of memory of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from intaglio.compiler.workload import (
    Conv2d,
    MatMul,
    Op,
    Reshape,
    Tensor,
    Transpose,
    Workload,
    inputs,
)
from intaglio.errors import UnsupportedError
from intaglio.templates.npu.constants import filler
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.layout import Form, TensorLayout, halves_of, packed_channels
from intaglio.templates.npu.translate import axes, folded_columns, form_of, is_rows, natural_map
from intaglio.templates.npu.work import blocks_of

REGION_ALIGNMENT = 64
"""Every region starts at a multiple of this many bytes."""


def align(address: int) -> int:
    """The next legal start of a region."""
    return -(-address // REGION_ALIGNMENT) * REGION_ALIGNMENT


def plan_layouts(workload: Workload, design: NpuDesign) -> dict[str, TensorLayout]:
    """A layout for every activation tensor, addresses counted from the first of them.

    Raises UnsupportedError when an operator reads a tensor after a reshape that moves data.
    """
    layouts: dict[str, TensorLayout] = {}
    end = 0
    for name in workload.inputs:
        layouts[name] = _entering(name, workload, end, design)
        end = align(end + layouts[name].bytes)
    for op in workload.ops:
        refusal = reshape_refusal(op, workload, layouts)
        if refusal is not None:
            raise UnsupportedError(refusal)
        tensor = workload.tensor(op.output)
        if isinstance(op, Reshape | Transpose):
            layouts[op.output] = _moved(op, layouts[op.input], tensor)
            continue
        form = form_of(op, tensor.shape)
        layouts[op.output] = _fresh(tensor, form, end, filler(op, workload).value, design)
        end = align(end + layouts[op.output].bytes)
    return layouts


def input_layouts(op: Op, workload: Workload, design: NpuDesign) -> dict[str, TensorLayout]:
    """How what `op` reads is stored, as `plan_layouts` decides it, at no address yet.

    Only these tensors are looked at, so other operators may be ones that the npu cannot execute.
    """
    makers = {other.output: other for other in workload.ops}

    def layout(name: str) -> TensorLayout:
        maker = makers.get(name)
        if maker is None:
            return _entering(name, workload, 0, design)
        tensor = workload.tensor(name)
        if isinstance(maker, Reshape | Transpose):
            source = layout(maker.input)
            if reshape_refusal(maker, workload, {maker.input: source}) is not None:
                return _entering(name, workload, 0, design)
            return _moved(maker, source, tensor)
        return _fresh(tensor, form_of(maker, tensor.shape), 0, 0, design)

    return {name: layout(name) for name in inputs(op)}


def filler_of(name: str, workload: Workload) -> int:
    """What the lanes beyond the last channel of tensor `name` hold, through moves."""
    makers = {op.output: op for op in workload.ops}
    while isinstance(maker := makers.get(name), Reshape | Transpose):
        name = maker.input
    return 0 if maker is None else filler(maker, workload).value


def reshape_refusal(op: Op, workload: Workload, layouts: dict[str, TensorLayout]) -> str | None:
    """Why `op` cannot read its inputs as they are stored, or None."""
    if isinstance(op, Reshape):
        return None
    if isinstance(op, Transpose):
        return _transpose_refusal(op, workload, layouts[op.input])
    whole = isinstance(op, MatMul) and not is_rows(workload.tensor(op.output).shape)
    for name in inputs(op)[1 if whole else 0 :]:
        stored, wanted = layouts[name].form, form_of(op, workload.tensor(name).shape)
        if stored == wanted:
            continue
        if wanted.heads > 1 or stored.heads > 1:
            return (
                f"{op.name}: reads '{name}' as {wanted}, it is stored as {stored}; make heads of "
                "rows of features by a reshape to (1, rows, heads, features) and a permute to "
                "(0, 2, 1, 3), and back"
            )
        return (
            f"{op.name}: reads '{name}', which a reshape turned from {stored} into {wanted} "
            "without moving data; only a linear layer on all of it, another reshape or the "
            "network's output can follow such a reshape"
        )
    return None


def entry_refusal(op: Op, workload: Workload) -> str | None:
    """Why a transpose of what enters the npu is left to what brings it there, or None."""
    if not isinstance(op, Transpose):
        return None
    makers = {other.output: other for other in workload.ops}
    name = op.input
    while isinstance(maker := makers.get(name), Reshape | Transpose):
        name = maker.input
    if maker is not None:
        return None
    return (
        f"{op.name}: permutes '{name}' on its way into the npu, which moves no data; give it as "
        f"{workload.tensor(op.output).shape}"
    )


def _transpose_refusal(op: Transpose, workload: Workload, stored: TensorLayout) -> str | None:
    """Why a transpose would move data, or None."""
    shape = workload.tensor(op.input).shape
    if len(shape) != 4 or stored.form not in _forms_of_heads(*shape[1:]):
        return (
            f"{op.name}: permutes '{op.input}', which is stored as {stored.form}, the npu moves no "
            "data; permute rows of features, reshaped to (1, rows, heads, features), or heads"
        )
    features = shape[3]
    if features % stored.lanes:
        return (
            f"{op.name}: permutes heads of {features} features, which the npu only does where they "
            f"lie in words of {stored.lanes}; make a head's features a multiple of {stored.lanes}"
        )
    return None


def _forms_of_heads(first: int, second: int, features: int) -> tuple[Form, Form]:
    """Rows (1, first, second, features) of `second` heads, and `first` heads of rows."""
    rows = Form((second * features, 1, first), last=True)
    return rows, Form((features, 1, second), last=True, heads=first)


def _moved(op: Reshape | Transpose, source: TensorLayout, tensor: Tensor) -> TensorLayout:
    """The same region under another shape."""
    return _alias(source, tensor) if isinstance(op, Reshape) else _permuted(source, tensor)


def _permuted(source: TensorLayout, tensor: Tensor) -> TensorLayout:
    """Rows of all heads (1, rows, heads, features) as heads of rows, or the other way round."""
    _, first, second, features = tensor.shape
    before, _ = _forms_of_heads(second, first, features)
    rows, heads = _forms_of_heads(first, second, features)
    made = heads if source.form == before else rows
    return replace(source, name=tensor.name, shape=tensor.shape, map=made.map, heads=made.heads)


def _entering(name: str, workload: Workload, address: int, design: NpuDesign) -> TensorLayout:
    """The layout of an input of the network."""
    tensor = workload.tensor(name)
    natural = Form(natural_map(tensor.shape), is_rows(tensor.shape))
    forms = (form_of(op, tensor.shape) for op in workload.ops if name in inputs(op))
    layout = _fresh(tensor, next(forms, natural), address, 0, design)
    readers = tuple(_array_readers(workload, name))
    packed = _can_pack(workload, name, readers, design)
    return _packed(layout, workload, readers, design) if packed else layout


def _fresh(tensor: Tensor, form: Form, address: int, value: int, design: NpuDesign) -> TensorLayout:
    """A blocked region of its own."""
    return TensorLayout(
        name=tensor.name,
        shape=tensor.shape,
        map=form.map,
        kind="blocked",
        address=address,
        lanes=design.lanes,
        signed=tensor.element.lo < 0,
        filler=value,
        last=form.last,
        halves=halves_of(tensor.element),
        heads=form.heads,
    )


def _alias(source: TensorLayout, tensor: Tensor) -> TensorLayout:
    """The same region under another shape; the map changes where no element moves."""
    wanted, last = natural_map(tensor.shape), is_rows(tensor.shape)
    same = source.last == last or source.plane_words == 1
    if source.kind == "blocked" and source.heads == 1 and wanted[0] == source.map[0] and same:
        return replace(source, name=tensor.name, shape=tensor.shape, map=wanted, last=last)
    return replace(source, name=tensor.name, shape=tensor.shape)


def _readers(workload: Workload, name: str) -> Iterator[tuple[Op, str]]:
    """Every operator that reads `name`, through reshapes, with the name it reads."""
    for op in workload.ops:
        if name in inputs(op):
            if isinstance(op, Reshape):
                yield from _readers(workload, op.output)
            else:
                yield op, name


def _array_readers(workload: Workload, name: str) -> Iterator[Conv2d | MatMul]:
    """The convolutions and products among the readers of `name`."""
    for op, _ in _readers(workload, name):
        if isinstance(op, Conv2d | MatMul):
            yield op


def _can_pack(
    workload: Workload, name: str, readers: tuple[Conv2d | MatMul, ...], design: NpuDesign
) -> bool:
    """Whether an input has 8 bits, few channels and only convolutions and products as readers."""
    if halves_of(workload.tensor(name).element) > 1:
        return False
    channels = natural_map(workload.tensor(name).shape)[0]
    everyone = list(_readers(workload, name))
    plain = all(
        isinstance(op, Conv2d | MatMul) and op.input == alias and op.epilogue.residual != alias
        for op, alias in everyone
    )
    pixels = workload.tensor(name).elements // channels
    return bool(readers) and plain and 2 * packed_channels(channels) <= design.lanes and pixels > 1


def _packed(
    layout: TensorLayout,
    workload: Workload,
    readers: Iterable[Conv2d | MatMul],
    design: NpuDesign,
) -> TensorLayout:
    """`layout` packed, with rows that hold the padding and the folded windows of all readers."""
    pixel = layout.pixel_bytes
    fold = design.lanes // pixel
    windows = [axes(op, workload, layout.map)[1] for op in readers]
    left = max(x.before for x in windows)
    ends = [
        left - x.before + (x.outputs - 1) * x.stride + folded_columns(x, pixel, design.lanes) * fold
        for x in windows
    ]
    pixels = max(*ends, left + layout.map[2])
    return replace(
        layout, kind="packed", left=left, row_words=blocks_of(pixels * pixel, design.lanes)
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """The layouts of all tensors, and the bytes of memory that those in memory take together.

    Tensors that stay on the chip have addresses after these bytes, where no memory is.
    """

    layouts: dict[str, TensorLayout]
    bytes: int

    def of(self, image: int, images: int) -> dict[str, TensorLayout]:
        """The layouts of one of `images` images: those in memory of all come first."""
        ends = (layout.address + layout.bytes for layout in self.layouts.values())
        on_chip = max(ends) - self.bytes
        moves = image * self.bytes, (images - 1) * self.bytes + image * on_chip
        return {
            name: replace(layout, address=layout.address + moves[layout.address >= self.bytes])
            for name, layout in self.layouts.items()
        }


def keep_last(layouts: dict[str, TensorLayout], kept: Collection[str]) -> Stored:
    """`layouts` at new addresses: those in memory first, then the tensors `kept` on the chip."""
    end, moved = 0, dict[int, int]()
    memory = 0
    for last in (False, True):
        for name, layout in layouts.items():
            if (name in kept) is last and layout.address not in moved:
                moved[layout.address] = end
                end = align(end + layout.bytes)
        memory = memory if last else end
    placed = {
        name: replace(layout, address=moved[layout.address]) for name, layout in layouts.items()
    }
    return Stored(placed, memory)
