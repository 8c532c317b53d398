"""Decides how every activation tensor is stored, and gives it a region of memory of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from intaglio.compiler.workload import Conv2d, MatMul, Op, Reshape, Tensor, Workload, inputs
from intaglio.errors import UnsupportedError
from intaglio.templates.npu.constants import filler
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.layout import Map, TensorLayout, halves_of, packed_channels
from intaglio.templates.npu.work import axes, blocks_of, folded_columns, is_rows, natural_map

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
        if isinstance(op, Reshape):
            layouts[op.output] = _alias(layouts[op.input], tensor)
            continue
        layouts[op.output] = _fresh(tensor, end, filler(op, workload).value, design)
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
        if isinstance(maker, Reshape):
            return _alias(layout(maker.input), workload.tensor(name))
        return _fresh(workload.tensor(name), 0, 0, design)

    return {name: layout(name) for name in inputs(op)}


def filler_of(name: str, workload: Workload) -> int:
    """What the lanes beyond the last channel of tensor `name` hold, through reshapes."""
    makers = {op.output: op for op in workload.ops}
    while isinstance(maker := makers.get(name), Reshape):
        name = maker.input
    return 0 if maker is None else filler(maker, workload).value


def reshape_refusal(op: Op, workload: Workload, layouts: dict[str, TensorLayout]) -> str | None:
    """Why `op` cannot read its inputs as they are stored, or None."""
    if isinstance(op, Reshape):
        return None
    whole = isinstance(op, MatMul) and not is_rows(workload.tensor(op.output).shape)
    for name in inputs(op)[1 if whole else 0 :]:
        shape = workload.tensor(name).shape
        stored, wanted = layouts[name].map, natural_map(shape)
        if (stored, layouts[name].last) != (wanted, is_rows(shape)):
            return (
                f"{op.name}: reads '{name}', which a reshape turned from "
                f"{_size(stored, last=layouts[name].last)} into "
                f"{_size(wanted, last=is_rows(shape))} without moving data; only a linear layer on "
                "all of it, another reshape or the network's output can follow such a reshape"
            )
    return None


def _size(extents: Map, *, last: bool) -> str:
    """A map in the order of its elements."""
    channels, *pixels = extents
    return "x".join(map(str, (*pixels, channels) if last else extents))


def _entering(name: str, workload: Workload, address: int, design: NpuDesign) -> TensorLayout:
    """The layout of an input of the network."""
    layout = _fresh(workload.tensor(name), address, 0, design)
    readers = tuple(_array_readers(workload, name))
    packed = _can_pack(workload, name, readers, design)
    return _packed(layout, workload, readers, design) if packed else layout


def _fresh(tensor: Tensor, address: int, value: int, design: NpuDesign) -> TensorLayout:
    """A blocked region of its own."""
    return TensorLayout(
        name=tensor.name,
        shape=tensor.shape,
        map=natural_map(tensor.shape),
        kind="blocked",
        address=address,
        lanes=design.lanes,
        signed=tensor.element.lo < 0,
        filler=value,
        last=is_rows(tensor.shape),
        halves=halves_of(tensor.element),
    )


def _alias(source: TensorLayout, tensor: Tensor) -> TensorLayout:
    """The same region under another shape; the map changes where no element moves."""
    wanted, last = natural_map(tensor.shape), is_rows(tensor.shape)
    same = source.last == last or source.plane_words == 1
    if source.kind == "blocked" and wanted[0] == source.map[0] and same:
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
