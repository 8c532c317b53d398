"""`schedule`: from a workload and a design to a `Program`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler.workload import Op, Requantise, Workload
from intaglio.errors import DesignError, UnsupportedError
from intaglio.templates.npu.allocator import Allocator
from intaglio.templates.npu.array_steps import array_regions, array_steps
from intaglio.templates.npu.builder import Builder
from intaglio.templates.npu.constants import (
    array_constant_bytes,
    array_constants,
    table_bytes,
    window_constant_bytes,
    window_constants,
)
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.drafts import Draft, Space
from intaglio.templates.npu.isa import INSTRUCTION_BYTES, Instruction, Opcode, encode
from intaglio.templates.npu.layout import TensorLayout
from intaglio.templates.npu.mapper import map_array, map_window
from intaglio.templates.npu.mapping import ArrayMapping, WindowMapping
from intaglio.templates.npu.memory_map import (
    activation_bytes,
    align,
    input_layouts,
    plan_layouts,
)
from intaglio.templates.npu.program import LayerInfo, Program, Region
from intaglio.templates.npu.steps import Place, RegionNeed, Step
from intaglio.templates.npu.supports import supports
from intaglio.templates.npu.tokens import Tokens, derive
from intaglio.templates.npu.window_steps import window_regions, window_steps
from intaglio.templates.npu.work import ArrayWork, WindowWork, Work, translate

Progress = Callable[[str, int, int], None]
"""Called with a step's text, what is done and the total."""


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


Mapped = MappedArray | MappedWindow


def map_work(name: str, work: Work, design: NpuDesign) -> Mapped:
    """The cheapest mapping of one operator; raises DesignError naming it when there is none."""
    match work:
        case ArrayWork():
            return MappedArray(work, map_array(name, work.shape, design))
        case WindowWork():
            return MappedWindow(work, map_window(name, work.shape, design))
        case _:
            assert_never(work)


def mapped_regions(mapped: Mapped, design: NpuDesign) -> tuple[RegionNeed, ...]:
    """What a mapped operator takes of the buffers."""
    match mapped:
        case MappedArray():
            return array_regions(mapped.work.shape, mapped.mapping, design)
        case MappedWindow():
            return window_regions(mapped.work.shape, mapped.mapping, design)
        case _:
            assert_never(mapped)


def mapped_steps(mapped: Mapped, workload: Workload, place: Place) -> list[Step]:
    """The steps of a mapped operator."""
    match mapped:
        case MappedArray():
            return array_steps(mapped.work, mapped.mapping, place)
        case MappedWindow():
            return window_steps(mapped.work, mapped.mapping, workload, place)
        case _:
            assert_never(mapped)


@dataclass(slots=True)
class _Image:
    """The constants of a program, piece after piece, each at a legal start.

    Of constants that are not known there is room and no piece.
    """

    pieces: list[NDArray[np.uint8]] = field(default_factory=list)
    bytes: int = 0

    def add(self, piece: NDArray[np.uint8]) -> int:
        """Append `piece` and return the address of its first byte."""
        before = self.bytes
        start = self.reserve(piece.size)
        self.pieces += [np.zeros(start - before, np.uint8), piece.reshape(-1)]
        return start

    def reserve(self, size: int) -> int:
        """Room for `size` bytes; returns the address of the first of them."""
        start = align(self.bytes)
        self.bytes = start + size
        return start

    def array(self) -> NDArray[np.uint8]:
        """All of it."""
        return np.concatenate([np.zeros(0, np.uint8), *self.pieces])


def mappings(workload: Workload, design: NpuDesign) -> dict[str, ArrayMapping | WindowMapping]:
    """The mapping of every operator that costs something, by the operator's name.

    Raises UnsupportedError for an operator the npu cannot execute, DesignError when the design
    cannot hold one tile of it.
    """
    _refuse(workload, design)
    layouts = plan_layouts(workload, design)
    works = {op.name: translate(op, workload, layouts, design) for op in workload.ops}
    return {
        name: map_work(name, work, design).mapping
        for name, work in works.items()
        if work is not None
    }


def misfit(op: Op, workload: Workload, design: NpuDesign) -> str | None:
    """Why `design` cannot hold one tile of a supported operator; None when it can."""
    try:
        work = translate(op, workload, input_layouts(op, workload, design), design)
        if work is not None:
            map_work(op.name, work, design)
    except DesignError as error:
        return str(error)
    return None


def _refuse(workload: Workload, design: NpuDesign) -> None:
    for op in workload.ops:
        reason = supports(op, workload, design)
        if reason is not None:
            raise UnsupportedError(reason)


def schedule(workload: Workload, design: NpuDesign, progress: Progress | None = None) -> Program:
    """Map every operator of `workload` and write the program for `design`.

    A workload without weights gets the same instructions and no memory image.  Raises
    UnsupportedError for an operator the npu cannot execute, DesignError when the design cannot
    hold one tile.
    """
    _refuse(workload, design)
    layouts = plan_layouts(workload, design)
    layering = _Layering(workload, design, layouts)
    for done, op in enumerate(workload.ops):
        layering.add(op)
        if progress is not None:
            progress("schedule", done + 1, len(workload.ops))
    if not layering.layers:
        raise UnsupportedError(
            f"workload '{workload.name}' only reshapes; there is nothing to run on an npu"
        )
    return layering.program()


class _Layering:
    """Collects layers, steps and constants, operator by operator."""

    def __init__(
        self, workload: Workload, design: NpuDesign, layouts: dict[str, TensorLayout]
    ) -> None:
        self.workload, self.design, self.layouts = workload, design, layouts
        self.image = _Image()
        self.allocator = Allocator(design)
        self.layers: list[LayerInfo] = []
        self.steps: list[Step] = []
        self.owners: list[int] = []
        self.regions: dict[str, Region] = {}
        self.half = 0
        self.known = workload.emittable

    def add(self, op: Op) -> None:
        """The layer of `op`, unless it costs nothing."""
        work = translate(op, self.workload, self.layouts, self.design)
        if work is None:
            return
        mapped = map_work(op.name, work, self.design)
        place = self._place(op, mapped)
        steps = mapped_steps(mapped, self.workload, place)
        self.steps += steps
        self.owners += [place.layer] * len(steps)
        if isinstance(mapped, MappedArray):
            finished = sum(draft.opcode is Opcode.STORE for step in steps for draft in step.work)
            self.half ^= finished & 1
        members = op.source.nodes or (op.name,)
        macs = self.workload.macs(op)
        self.layers.append(LayerInfo(place.layer, op.name, type(op).__name__, macs, members))

    def _place(self, op: Op, mapped: Mapped) -> Place:
        """Regions of the buffers, and the layer's constants in memory."""
        first = align(self.image.bytes)
        if self.known:
            pieces = tuple(self.image.add(piece) for piece in self._constants(op, mapped))
        else:
            pieces = tuple(self.image.reserve(size) for size in self._sizes(mapped))
        table = self._table(mapped.work.epilogue)
        self.regions[f"constants {op.name}"] = Region(first, self.image.bytes - first)
        regions = self.allocator.place(mapped_regions(mapped, self.design))
        return Place(self.design, len(self.layers), self.layouts, regions, pieces, table, self.half)

    def _constants(self, op: Op, mapped: Mapped) -> tuple[NDArray[np.uint8], ...]:
        """Weights, taps and records of one layer, piece by piece."""
        match mapped:
            case MappedArray():
                return array_constants(mapped.work, self.workload, self.layouts, self.design)
            case MappedWindow():
                channels = self.layouts[op.output].map[0]
                return (window_constants(mapped.work, self.workload, self.design, channels),)
            case _:
                assert_never(mapped)

    def _sizes(self, mapped: Mapped) -> tuple[int, ...]:
        """Bytes of what `_constants` gives."""
        match mapped:
            case MappedArray():
                return array_constant_bytes(mapped.work.shape, self.design)
            case MappedWindow():
                return (window_constant_bytes(mapped.work.shape, self.design),)
            case _:
                assert_never(mapped)

    def _table(self, epilogue: Requantise | None) -> int:
        """Where the table of one layer is in memory; 0 without one."""
        if epilogue is None or epilogue.table is None:
            return 0
        if self.known:
            return self.image.add(table_bytes(epilogue, self.workload, self.design))
        return self.image.reserve(self.workload.tensor(epilogue.table).elements)

    def program(self) -> Program:
        """The program of everything that was added."""
        memory = activation_bytes(self.layouts)
        drafts = Builder(self.steps, self.owners, self._stored(memory)).run()
        sizes = {
            Space.MEMORY: memory // self.design.word_bytes,
            Space.ACTIVATION: self.design.activation_words,
            Space.WEIGHT: self.design.weight_words,
            Space.ACCUMULATOR: 2 * self.design.accumulator_words,
        }
        tokens = derive(drafts, sizes)
        program_address = align(self.image.bytes)
        base = align(program_address + len(drafts) * INSTRUCTION_BYTES)
        instructions = encode(_finish(drafts, tokens, base))
        layouts = {
            name: replace(layout, address=layout.address + base)
            for name, layout in self.layouts.items()
        }
        self.regions["program"] = Region(program_address, len(drafts) * INSTRUCTION_BYTES)
        self.regions |= {
            f"tensor {name}": Region(layout.address, layout.bytes)
            for name, layout in layouts.items()
        }
        return Program(
            design=self.design,
            workload_name=self.workload.name,
            instructions=instructions,
            image=self.image.array(),
            program_address=program_address,
            regions=self.regions,
            tensors=layouts,
            inputs=self.workload.inputs,
            outputs=self.workload.outputs,
            layers=tuple(self.layers),
            memory_bytes=base + memory,
        )

    def _stored(self, memory: int) -> NDArray[np.int32]:
        """Which words of activation memory hold their value before the first instruction."""
        stored = np.zeros(memory // self.design.word_bytes, np.int32)
        for name in self.workload.inputs:
            layout = self.layouts[name]
            first = layout.address // self.design.word_bytes
            stored[first : first + layout.words] = 1
        return stored


def _finish(drafts: list[Draft], tokens: list[Tokens], base: int) -> list[Instruction]:
    """Instructions with addresses, tokens and marks; activation memory starts at byte `base`."""
    last = {
        draft.layer: index for index, draft in enumerate(drafts) if draft.opcode is Opcode.STORE
    }
    instructions = []
    for index, (draft, token) in enumerate(zip(drafts, tokens, strict=True)):
        fields: Mapping[str, int] = draft.fields
        if draft.relocate:
            fields = {**fields, "memory_address": fields["memory_address"] + base}
        instructions.append(
            Instruction(
                draft.opcode,
                dict(fields),
                pop=token.pop,
                push=token.push,
                layer=draft.layer,
                mark=last[draft.layer] == index,
            )
        )
    return instructions
