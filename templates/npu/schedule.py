"""`schedule`: from a workload and a design to a `Program`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler.workload import Op, Requantise, Workload
from intaglio.errors import DesignError, UnsupportedError
from intaglio.templates.npu.allocator import Allocator
from intaglio.templates.npu.builder import Builder
from intaglio.templates.npu.constants import (
    array_constant_bytes,
    array_constants,
    row_constant_bytes,
    row_constants,
    table_bytes,
    window_constant_bytes,
    window_constants,
)
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.drafts import Draft, Space
from intaglio.templates.npu.images import check_images
from intaglio.templates.npu.isa import INSTRUCTION_BYTES, Instruction, Opcode, encode
from intaglio.templates.npu.layers import (
    Layer,
    LayerMapping,
    kept_tensors,
    map_work,
    mapped_regions,
    mapped_steps,
    plan_layers,
)
from intaglio.templates.npu.layout import TensorLayout
from intaglio.templates.npu.memory_map import (
    Stored,
    align,
    input_layouts,
    keep_last,
    plan_layouts,
)
from intaglio.templates.npu.program import LayerInfo, Program, Region
from intaglio.templates.npu.steps import Place, Step
from intaglio.templates.npu.supports import supports
from intaglio.templates.npu.tokens import Tokens, derive
from intaglio.templates.npu.translate import translate
from intaglio.templates.npu.work import ArrayWork, RowWork, WindowWork, Work

Progress = Callable[[str, int, int], None]
"""Called with a step's text, what is done and the total."""


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


def mappings(workload: Workload, design: NpuDesign) -> dict[str, LayerMapping]:
    """The mapping of every layer, by its name.

    Raises UnsupportedError for an operator the npu cannot execute, DesignError when the design
    cannot hold one tile of it.
    """
    _refuse(workload, design)
    layers = plan_layers(workload, plan_layouts(workload, design), design)
    return {layer.name: layer.mapped.mapping for layer in layers}


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


def schedule(
    workload: Workload,
    design: NpuDesign,
    progress: Progress | None = None,
    *,
    fuse: bool = True,
    images: int = 1,
) -> Program:
    """Map every operator of `workload` and write the program for `design`.

    Without `fuse` every tensor goes to memory, and every operator is a layer of its own.  The
    program takes `images` images one after the other, and begins each under the end of the one
    before.  A workload without weights gets the same instructions and no memory image.  Raises
    UnsupportedError for an operator the npu cannot execute, DesignError when the design cannot
    hold one tile, and UsageError for more images than a program can take.
    """
    _refuse(workload, design)
    layouts = plan_layouts(workload, design)
    layers = plan_layers(workload, layouts, design, progress, fuse=fuse)
    if not layers:
        raise UnsupportedError(
            f"workload '{workload.name}' only reshapes; there is nothing to run on an npu"
        )
    stored = keep_last(layouts, kept_tensors(layers))
    check_images(workload.name, images, len(layers), stored.bytes)
    layering = _Layering(workload, design, stored, images)
    for image in range(images):
        layering.add(layers, image)
    return layering.program()


class _Layering:
    """Collects layers, steps and constants: image by image, operator by operator."""

    def __init__(self, workload: Workload, design: NpuDesign, stored: Stored, images: int) -> None:
        self.workload, self.design = workload, design
        self.stored, self.images = stored, images
        self.layouts = stored.of(0, images)
        self.image = _Image()
        self.allocator = Allocator(design)
        self.layers: list[LayerInfo] = []
        self.pieces: list[tuple[tuple[tuple[int, ...], int], ...]] = []
        self.steps: list[Step] = []
        self.owners: list[int] = []
        self.regions: dict[str, Region] = {}
        self.half = 0
        self.known = workload.emittable

    def add(self, layers: Sequence[Layer], image: int) -> None:
        """The steps of all layers for one image, and with those of the first the constants."""
        if image == 0:
            self.layers = [layer.info(index, self.workload) for index, layer in enumerate(layers)]
            self.pieces = [
                tuple(self._constants(op, work) for op, work in layer.parts) for layer in layers
            ]
        layouts = self.stored.of(image, self.images)
        self.allocator.next_image()
        for index, layer in enumerate(layers):
            self._add(layer, layouts, self.pieces[index], image * len(layers) + index)

    def _add(
        self,
        layer: Layer,
        layouts: Mapping[str, TensorLayout],
        pieces: Sequence[tuple[tuple[int, ...], int]],
        index: int,
    ) -> None:
        """The steps of one layer for one image, whose instructions are of layer `index`."""
        regions = self.allocator.place(mapped_regions(layer.mapped, self.design))
        places = tuple(
            Place(self.design, index, layouts, regions, constants, table, self.half)
            for constants, table in pieces
        )
        steps = mapped_steps(layer.mapped, self.workload, places)
        self.steps += steps
        self.owners += [index] * len(steps)
        drafts = (draft for step in reversed(steps) for draft in reversed(step.work))
        last = next((draft for draft in drafts if draft.opcode is Opcode.COMPUTE), None)
        if last is not None:
            self.half = 1 - last.fields["acc_address"] // self.design.accumulator_words

    def _constants(self, op: Op, work: Work) -> tuple[tuple[int, ...], int]:
        """Where one operator's constants are in memory: piece by piece, and its table."""
        first = align(self.image.bytes)
        if self.known:
            pieces = tuple(self.image.add(piece) for piece in self._pieces(op, work))
        else:
            pieces = tuple(self.image.reserve(size) for size in self._sizes(work))
        table = self._table(work.epilogue)
        if self.image.bytes > first:
            self.regions[f"constants {op.name}"] = Region(first, self.image.bytes - first)
        return pieces, table

    def _pieces(self, op: Op, work: Work) -> tuple[NDArray[np.uint8], ...]:
        """Weights, taps and records of one operator, piece by piece."""
        match work:
            case ArrayWork():
                return array_constants(work, self.workload, self.layouts, self.design)
            case WindowWork():
                channels = self.layouts[op.output].map[0]
                return (window_constants(work, self.workload, self.design, channels),)
            case RowWork():
                return row_constants(work, self.workload, self.design)
            case _:
                assert_never(work)

    def _sizes(self, work: Work) -> tuple[int, ...]:
        """Bytes of what `_pieces` gives."""
        match work:
            case ArrayWork():
                return array_constant_bytes(work.shape, self.design)
            case WindowWork():
                return (window_constant_bytes(work.shape, self.design),)
            case RowWork():
                return row_constant_bytes(work.shape, self.design)
            case _:
                assert_never(work)

    def _table(self, epilogue: Requantise | None) -> int:
        """Where the table of one operator is in memory; 0 without one."""
        if epilogue is None or epilogue.table is None:
            return 0
        if self.known:
            return self.image.add(table_bytes(epilogue, self.workload, self.design))
        return self.image.reserve(self.workload.tensor(epilogue.table).elements)

    def program(self) -> Program:
        """The program of everything that was added."""
        memory = self.images * self.stored.bytes
        stored = self._stored(memory)
        drafts = Builder(self.steps, self.owners, stored, self.design, len(self.layers)).run()
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
            if layout.address < base + memory
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
            kept=_kept(drafts, base),
            images=self.images,
            image_bytes=self.stored.bytes if self.images > 1 else 0,
        )

    def _stored(self, memory: int) -> NDArray[np.int32]:
        """Which words of activation memory hold their value before the first instruction."""
        stored = np.zeros(memory // self.design.word_bytes, np.int32)
        for image in range(self.images):
            layouts = self.stored.of(image, self.images)
            for layout in map(layouts.__getitem__, self.workload.inputs):
                first = layout.address // self.design.word_bytes
                stored[first : first + layout.words] = 1
        return stored


def _kept(drafts: list[Draft], base: int) -> NDArray[np.int64]:
    """Which instructions make words that stay on the chip, and where those stand in the map."""
    found = [(i, d.keeps + base) for i, d in enumerate(drafts) if d.keeps is not None]
    return np.array(found, np.int64).reshape(-1, 2)


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
