"""Which operators make one layer of a program, and how each layer is mapped.

A layer is one operator, or a pair that shares the activation buffer: one on the array, and one on
the window that alone reads what it makes; or a pair with its tail, the operator on the array that
reads what the pair makes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from intaglio.compiler.workload import Op, Workload, inputs
from intaglio.hw.store import Progress
from intaglio.templates.npu.array_steps import array_regions, array_steps
from intaglio.templates.npu.chain import (
    ChainMapping,
    ChainWork,
    chain_regions,
    chain_steps,
    map_chain,
)
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.fused_mapper import map_fused
from intaglio.templates.npu.fused_mapping import FusedMapping
from intaglio.templates.npu.fused_steps import FusedWork, fused_regions, fused_steps
from intaglio.templates.npu.group import GroupMapping, GroupWork, Part, group_regions
from intaglio.templates.npu.group_steps import group_cycles, group_steps
from intaglio.templates.npu.grouping import groups
from intaglio.templates.npu.layout import TensorLayout
from intaglio.templates.npu.mapper import map_array, map_rows, map_window
from intaglio.templates.npu.mapping import ArrayMapping, RowMapping, WindowMapping
from intaglio.templates.npu.program import LayerInfo
from intaglio.templates.npu.row_steps import row_regions, row_steps
from intaglio.templates.npu.steps import Place, RegionNeed, Step
from intaglio.templates.npu.translate import translate
from intaglio.templates.npu.window_steps import window_regions, window_steps
from intaglio.templates.npu.work import ArrayWork, RowWork, WindowWork, Work

LayerMapping = (
    ArrayMapping | WindowMapping | RowMapping | FusedMapping | ChainMapping | GroupMapping
)


@dataclass(frozen=True, slots=True)
class MappedArray:
    """An operator on the array, and how it is cut."""

    work: ArrayWork
    mapping: ArrayMapping


@dataclass(frozen=True, slots=True)
class MappedWindow:
    """An operator on the window, and how it is cut."""

    work: WindowWork
    mapping: WindowMapping


@dataclass(frozen=True, slots=True)
class MappedRows:
    """A norm or softmax on the row engines, and how it is cut."""

    work: RowWork
    mapping: RowMapping


@dataclass(frozen=True, slots=True)
class MappedFused:
    """A pair of operators, and how it is cut."""

    work: FusedWork
    mapping: FusedMapping


@dataclass(frozen=True, slots=True)
class MappedChain:
    """A pair and its tail, and how they are cut."""

    work: ChainWork
    mapping: ChainMapping


@dataclass(frozen=True, slots=True)
class MappedGroup:
    """Operators that are worked off side by side, and how they are cut."""

    work: GroupWork
    mapping: GroupMapping


MappedOne = MappedArray | MappedWindow | MappedRows
Mapped = MappedOne | MappedFused | MappedChain | MappedGroup


@dataclass(frozen=True, slots=True)
class Layer:
    """Operators with instructions of their own in common, in their order, and their mapping."""

    ops: tuple[Op, ...]
    mapped: Mapped

    @property
    def name(self) -> str:
        """The names of its operators."""
        return " + ".join(op.name for op in self.ops)

    @property
    def parts(self) -> tuple[tuple[Op, Work], ...]:
        """Every operator with what the npu does for it."""
        match self.mapped:
            case MappedFused(FusedWork(producer, consumer)):
                return tuple(zip(self.ops, (producer, consumer), strict=True))
            case MappedChain(ChainWork(FusedWork(producer, consumer), tail)):
                return tuple(zip(self.ops, (producer, consumer, tail), strict=True))
            case MappedGroup(GroupWork(parts)):
                return tuple(zip(self.ops, parts, strict=True))
            case MappedArray(work) | MappedWindow(work) | MappedRows(work):
                return ((self.ops[0], work),)
            case _:
                assert_never(self.mapped)

    def info(self, index: int, workload: Workload) -> LayerInfo:
        """The row of every per-layer table."""
        kinds = " + ".join(type(op).__name__ for op in self.ops)
        macs = sum(workload.macs(op) for op in self.ops)
        members = tuple(node for op in self.ops for node in op.source.nodes or (op.name,))
        names = tuple(op.name for op in self.ops)
        windows = sum(workload.macs(op) for op, work in self.parts if isinstance(work, WindowWork))
        return LayerInfo(index, self.name, kinds, macs, members, names, windows)


def plan_layers(
    workload: Workload,
    layouts: Mapping[str, TensorLayout],
    design: NpuDesign,
    progress: Progress | None = None,
    *,
    fuse: bool = True,
) -> tuple[Layer, ...]:
    """The layers of `workload`, in the order in which they run; without `fuse` one an operator.

    Raises DesignError when the design cannot hold one tile of an operator.
    """
    readers = _readers(workload) if fuse else {}
    made: dict[str, Layer] = {}
    for done, op in enumerate(workload.ops):
        work = translate(op, workload, layouts, design)
        if work is not None:
            layer = Layer((op,), map_work(op.name, work, design))
            source = work.op.input if isinstance(work, WindowWork) else ""
            fused = None
            if source in made and readers.get(source) == 1 and source not in workload.outputs:
                fused = _fused(made[source], layer, design)
            if fused is not None:
                del made[source]
            made[op.output] = fused or layer
            if fuse and isinstance(work, ArrayWork) and len(work.operands) == 1:
                chain = _chain(made.get(work.operands[0]), layer, design)
                if chain is not None:
                    del made[work.operands[0]]
                    made[op.output] = chain
        if progress is not None:
            progress("schedule", done + 1, len(workload.ops))
    layers = tuple(made.values())
    return _grouped(layers, workload, layouts, design) if fuse else layers


def _grouped(
    layers: tuple[Layer, ...],
    workload: Workload,
    layouts: Mapping[str, TensorLayout],
    design: NpuDesign,
) -> tuple[Layer, ...]:
    """`layers` with products, softmax and norms side by side where that is faster."""
    one = (MappedArray, MappedWindow, MappedRows)
    works = [layer.mapped.work if isinstance(layer.mapped, one) else None for layer in layers]
    apart = [layer.mapped.mapping.cycles for layer in layers]
    known: dict[tuple[object, ...], int] = {}

    def parts_of(first: int, end: int) -> tuple[Part, ...]:
        return tuple(w for w in works[first:end] if isinstance(w, ArrayWork | RowWork))

    def estimate(span: tuple[int, int], mapping: GroupMapping) -> int:
        work = GroupWork(parts_of(*span))
        key = tuple(part.shape for part in work.parts), mapping
        if key not in known:
            known[key] = group_cycles(work, mapping, workload, layouts, design)
        return known[key]

    result, done = list[Layer](), 0
    for (first, end), mapping in groups(works, apart, design, estimate):
        chosen = layers[first:end]
        ops = tuple(op for layer in chosen for op in layer.ops)
        mapped = MappedGroup(GroupWork(parts_of(first, end)), mapping)
        result += [*layers[done:first], Layer(ops, mapped)]
        done = end
    return (*result, *layers[done:])


def _readers(workload: Workload) -> dict[str, int]:
    """How many times each tensor is read."""
    counts: dict[str, int] = {}
    for op in workload.ops:
        for name in inputs(op):
            counts[name] = counts.get(name, 0) + 1
    return counts


def _fused(producer: Layer, consumer: Layer, design: NpuDesign) -> Layer | None:
    """The two as one layer, when they can share the buffer and are not slower for it."""
    if not isinstance(producer.mapped, MappedArray) or not isinstance(
        consumer.mapped, MappedWindow
    ):
        return None
    work = FusedWork(producer.mapped.work, consumer.mapped.work)
    mapping = map_fused(work.shape, design)
    apart = producer.mapped.mapping.cycles + consumer.mapped.mapping.cycles
    if mapping is None or mapping.cycles > apart:
        return None
    return Layer((*producer.ops, *consumer.ops), MappedFused(work, mapping))


def _chain(pair: Layer | None, tail: Layer, design: NpuDesign) -> Layer | None:
    """The two as one layer, when they fit side by side and are not slower for it."""
    if pair is None or not isinstance(pair.mapped, MappedFused):
        return None
    assert isinstance(tail.mapped, MappedArray)
    work = ChainWork(pair.mapped.work, tail.mapped.work)
    mapping = map_chain(work.pair.shape, work.tail.shape, design)
    apart = pair.mapped.mapping.cycles + tail.mapped.mapping.cycles
    if mapping is None or mapping.cycles > apart:
        return None
    return Layer((*pair.ops, *tail.ops), MappedChain(work, mapping))


def kept_tensors(layers: Sequence[Layer]) -> frozenset[str]:
    """Tensors that never leave the chip: what the first of a pair makes."""
    pairs = (layer for layer in layers if isinstance(layer.mapped, MappedFused | MappedChain))
    return frozenset(layer.ops[0].output for layer in pairs)


def map_work(name: str, work: Work, design: NpuDesign) -> MappedOne:
    """The cheapest mapping of one operator; raises DesignError naming it when there is none."""
    match work:
        case ArrayWork():
            return MappedArray(work, map_array(name, work.shape, design))
        case WindowWork():
            return MappedWindow(work, map_window(name, work.shape, design))
        case RowWork():
            return MappedRows(work, map_rows(name, work.shape, design))
        case _:
            assert_never(work)


def mapped_regions(mapped: Mapped, design: NpuDesign) -> tuple[RegionNeed, ...]:
    """What a layer takes of the buffers."""
    match mapped:
        case MappedArray(work, mapping):
            return array_regions(work.shape, mapping, design)
        case MappedWindow(work, mapping):
            return window_regions(work.shape, mapping, design)
        case MappedRows(work, mapping):
            return row_regions(work.shape, mapping, design)
        case MappedFused(work, mapping):
            return fused_regions(work.shape, mapping, design)
        case MappedGroup(work, mapping):
            return group_regions(work.parts, mapping.parts, design)
        case MappedChain(work, mapping):
            return chain_regions(work.pair.shape, work.tail.shape, mapping, design)
        case _:
            assert_never(mapped)


def mapped_steps(mapped: Mapped, workload: Workload, places: Sequence[Place]) -> list[Step]:
    """The steps of a layer; `places` are those of its operators."""
    match mapped:
        case MappedArray(work, mapping):
            return array_steps(work, mapping, places[0])
        case MappedWindow(work, mapping):
            return window_steps(work, mapping, workload, places[0])
        case MappedRows(work, mapping):
            return row_steps(work, mapping, workload, places[0])
        case MappedFused(work, mapping):
            return fused_steps(work, mapping, workload, places)
        case MappedGroup(work, mapping):
            return group_steps(work, mapping, workload, places)
        case MappedChain(work, mapping):
            return chain_steps(work, mapping, workload, places)
        case _:
            assert_never(mapped)
