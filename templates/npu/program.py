"""`Program`: everything an npu needs to run one workload, as one frozen value.

Memory starts with the constants (weights, records, tables), then the instructions, then one region
for every activation tensor of every image; no region is used twice, so every tensor can be looked
at after a run.  A tensor that stays on the chip has addresses after the end of memory, and `kept`
tells which instructions make its words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler.bundle import Bundle, Numbers
from intaglio.errors import IntaglioError, UnsupportedError
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import INSTRUCTION_BYTES, INSTRUCTION_WORDS, Unit, decode
from intaglio.templates.npu.layout import TensorLayout
from intaglio.templates.npu.legality import stop

FILES = Bundle("program", schema=3)
"""`program.json` and `program.safetensors`."""


@dataclass(frozen=True, slots=True)
class Region:
    """A range of memory: first byte and length."""

    address: int
    bytes: int

    @property
    def end(self) -> int:
        """The byte after the last."""
        return self.address + self.bytes


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """One row of every per-layer table: an operator with instructions of its own.

    `index` is the `layer` field of its instructions, those of a later image counted on (see
    `Program.owner`), `op` the operator's kind, `macs` its multiply-accumulates of one image, of
    which the window unit does `window_macs`, `members` the graph nodes that were fused into it.
    `ops` are the names of the operators that it executes.
    """

    index: int
    name: str
    op: str
    macs: int
    members: tuple[str, ...] = ()
    ops: tuple[str, ...] = ()
    window_macs: int = 0


@dataclass(frozen=True, slots=True)
class Program:
    """One workload for one design.

    design           the npu it is for
    workload_name    the workload it came from
    instructions     uint32 of shape (count, 16): the encoded program
    image            uint8 from byte 0: the constants, before anything runs; empty when the workload
                     has none, shapes being all that is known of it
    program_address  first byte of the instructions in memory, after the constants
    regions          name -> where it is: `program`, `constants <layer>`, `tensor <name>`
    tensors          activation tensor -> its layout; a reshape shares its input's region; both of
                     the first image, `layout` tells where those of the others are
    inputs, outputs  names of the tensors that enter and leave
    layers           the layers, in the order of their index
    memory_bytes     size of the memory that everything fits in
    kept             int64 of shape (count, 2): every vector instruction whose results stay on the
                     chip, and the address of the first; the tensors they make have addresses from
                     `memory_bytes` on, where no memory is
    images           how many images one run takes, one after the other
    image_bytes      from the tensors of one image in memory to those of the next; 0 of one image
    """

    design: NpuDesign
    workload_name: str
    instructions: NDArray[np.uint32]
    image: NDArray[np.uint8]
    program_address: int
    regions: Mapping[str, Region]
    tensors: Mapping[str, TensorLayout]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: tuple[LayerInfo, ...]
    memory_bytes: int
    kept: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    images: int = 1
    image_bytes: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "regions", MappingProxyType(dict(self.regions)))
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))

    @property
    def count(self) -> int:
        """How many instructions there are."""
        return len(self.instructions)

    @property
    def chip_bytes(self) -> int:
        """Bytes of the tensors of one image that stay on the chip, of their place in the map."""
        ends = (layout.address + layout.bytes for layout in self.tensors.values())
        return max((self.memory_bytes, *ends)) - self.memory_bytes

    @property
    def map_bytes(self) -> int:
        """Bytes of memory, and after them of the tensors that stay on the chip."""
        return self.memory_bytes + self.images * self.chip_bytes

    def layout(self, name: str, image: int = 0) -> TensorLayout:
        """Where tensor `name` of one image of a run is."""
        first = self.tensors[name]
        stays = first.address >= self.memory_bytes
        step = self.chip_bytes if stays else self.image_bytes
        return replace(first, address=first.address + image * step)

    def owner(self, layer: int) -> tuple[int, LayerInfo]:
        """The image and the layer that an instruction with this `layer` field works for."""
        image, index = divmod(layer, len(self.layers))
        return image, self.layers[index]

    @property
    def emittable(self) -> bool:
        """Whether the constants are there, so that hardware can run the program."""
        return self.image.size > 0 or self.program_address == 0

    def memory_image(self) -> NDArray[np.uint8]:
        """What memory holds from byte 0 before a run: constants, then instructions.

        Raises UnsupportedError when the constants are not there.
        """
        if not self.emittable:
            raise UnsupportedError(
                f"the program of '{self.workload_name}' was made from shapes only, so there are no "
                "weights to put into memory; compile the model with its weights"
            )
        end = self.program_address + self.count * INSTRUCTION_BYTES
        image = np.zeros(end, np.uint8)
        image[: self.image.size] = self.image
        encoded = np.ascontiguousarray(self.instructions.astype("<u4"))
        image[self.program_address :] = encoded.view(np.uint8).reshape(-1)
        return image


def describe(program: Program, *, instructions: bool = True) -> str:
    """`program` as text: memory map, tensors, layers, and every instruction when asked."""
    lines = [
        f"program {program.workload_name} for {program.design.name}: {program.count} instructions, "
        f"{program.memory_bytes} bytes of memory{_repeated(program)}"
    ]
    lines += [
        f"  region {name}: {region.address:#x}..{region.end:#x}"
        for name, region in program.regions.items()
    ]
    lines += [f"  tensor {_placed(program, layout)}" for layout in program.tensors.values()]
    decoded = decode(program.instructions)
    for layer in program.layers:
        own = [item for item in decoded if program.owner(item.layer)[1] is layer]
        counts = {unit: sum(item.unit == unit for item in own) for unit in Unit}
        shares = ", ".join(f"{count} {unit.name.lower()}" for unit, count in counts.items())
        lines.append(
            f"  layer {layer.index} {layer.name} ({layer.op}, {layer.macs} macs): {shares}"
        )
    if instructions:
        lines += [f"{index:6d} {item}" for index, item in enumerate(decoded)]
    return "\n".join(lines) + "\n"


def _repeated(program: Program) -> str:
    """Where the images after the first are, when there are any."""
    if program.images == 1:
        return ""
    return f", {program.images} images, each {program.image_bytes:#x} bytes after the one before"


def _placed(program: Program, layout: TensorLayout) -> str:
    """A tensor, and whether it is in memory at all."""
    stays = layout.address >= program.memory_bytes
    return f"{layout}, stays on the chip" if stays else str(layout)


def save_program(program: Program, folder: Path) -> tuple[Path, Path]:
    """Write `program.json` and `program.safetensors` into `folder`; returns their paths."""
    numbers: Numbers = {
        "image": program.image,
        "instructions": program.instructions,
        "kept": program.kept,
    }
    return FILES.save(folder, to_dict(program), numbers)


def load_program(folder: Path) -> Program:
    """Read what `save_program` wrote.

    Raises ArtifactError when a file is missing, corrupt, of another schema, or when the numbers
    do not match their hash.
    """
    described, numbers = FILES.load(folder)
    try:
        program = from_dict(described, numbers)
        _expect(program.design.to_dict() == described["design"], "the design lacks a parameter")
        check_program(program)
    except (ValueError, KeyError, TypeError, AttributeError, IntaglioError) as error:
        raise FILES.corrupt(folder, error) from error
    return program


def check_program(program: Program) -> None:
    """Raises ValueError with the first part that does not fit the others or is of a wrong type."""
    _check_numbers(program)
    fault = stop(program.instructions)
    _expect(fault is None, str(fault))
    _check_images(program)
    _check_regions(program)
    for layout in program.tensors.values():
        _check_tensor(program, layout)
    _check_layers(program)
    _check_kept(program)
    for name in (*program.inputs, *program.outputs):
        _expect(name in program.tensors, f"no tensor '{name}'")


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _is_count(*values: object) -> bool:
    """Whether every value is an integer of at least 0, as sizes and addresses are."""
    return all(type(value) is int and value >= 0 for value in values)


def _check_numbers(program: Program) -> None:
    _expect(type(program.workload_name) is str, "workload_name is no text")
    _expect(program.instructions.dtype == np.uint32, "instructions are not uint32")
    _expect(program.image.dtype == np.uint8 and program.image.ndim == 1, "image is not bytes")
    for key in ("memory_bytes", "program_address"):
        value = getattr(program, key)
        _expect(_is_count(value), f"{key} is {value!r}, expected a number of bytes")


def _check_images(program: Program) -> None:
    images, step = program.images, program.image_bytes
    _expect(_is_count(images, step) and images > 0, f"{images!r} images, {step!r} bytes apart")
    stored = [t for t in program.tensors.values() if t.address < program.memory_bytes]
    first = min((layout.address for layout in stored), default=0)
    end = max((layout.address + layout.bytes for layout in stored), default=0)
    _expect(
        images == 1 or (end - first <= step and end + (images - 1) * step <= program.memory_bytes),
        f"{images} images of {end - first} bytes each, {step} apart, do not fit in memory",
    )


def _check_kept(program: Program) -> None:
    kept = program.kept
    _expect(kept.dtype == np.int64 and kept.shape == (len(kept), 2), "kept are no pairs of int64")
    index, address = kept[:, 0], kept[:, 1]
    inside = np.zeros(len(kept), bool)
    for first in program.tensors.values():
        for image in range(program.images if first.address >= program.memory_bytes else 0):
            layout = program.layout(first.name, image)
            inside |= (address >= layout.address) & (address < layout.address + layout.bytes)
    _expect(
        bool((inside & (index >= 0) & (index < program.count)).all()),
        "kept are not instructions, and addresses of tensors after the memory",
    )


def _check_regions(program: Program) -> None:
    for name, region in program.regions.items():
        _expect(_is_count(region.address, region.bytes), f"region '{name}' is not in bytes")
        _expect(
            region.end <= program.memory_bytes,
            f"region '{name}' ends at byte {region.end}, memory_bytes is {program.memory_bytes}",
        )
    code = Region(program.program_address, program.count * INSTRUCTION_BYTES)
    _expect(program.regions["program"] == code, "region 'program' is not where instructions are")
    _expect(program.image.size <= code.address, "the constants reach into the instructions")


def _check_tensor(program: Program, layout: TensorLayout) -> None:
    name, lanes = layout.name, program.design.lanes
    _expect(layout.kind in ("blocked", "packed"), f"tensor '{name}' is of kind {layout.kind!r}")
    sizes = (*layout.shape, *layout.map, layout.address, layout.left, layout.row_words)
    _expect(
        _is_count(*sizes, layout.halves, layout.heads)
        and type(layout.filler) is int
        and {type(layout.signed), type(layout.last)} == {bool},
        f"tensor '{name}' has a field of a wrong type",
    )
    _expect(
        len(layout.map) == 3
        and 0 < math.prod(layout.shape) == layout.heads * math.prod(layout.map),
        f"tensor '{name}' of shape {layout.shape} is stored as {layout.map}",
    )
    _expect(
        layout.lanes == lanes, f"tensor '{name}' has {layout.lanes!r} lanes, the design {lanes}"
    )
    most = 1 if layout.kind == "packed" else 2
    _expect(
        1 <= layout.halves <= most,
        f"tensor '{name}' is {layout.kind} with {layout.halves} bytes an element",
    )
    pixels = layout.left + layout.map[2]
    _expect(
        layout.kind == "blocked" or pixels * layout.pixel_bytes <= layout.row_words * lanes,
        f"a row of tensor '{name}' does not fit in {layout.row_words} words",
    )
    if layout.address >= program.memory_bytes:
        return
    region = Region(layout.address, layout.bytes)
    _expect(
        program.regions.get(f"tensor {name}") == region, f"tensor '{name}' does not fill its region"
    )


def _check_layers(program: Program) -> None:
    for index, layer in enumerate(program.layers):
        texts = (layer.name, layer.op, *layer.members, *layer.ops)
        _expect(
            layer.index == index and _is_count(layer.index, layer.macs),
            f"layer {index} has index {layer.index!r} and {layer.macs!r} macs",
        )
        _expect(
            _is_count(layer.window_macs) and layer.window_macs <= layer.macs,
            f"layer {index} has {layer.window_macs!r} macs of windows among {layer.macs} in all",
        )
        _expect(all(type(text) is str for text in texts), f"layer {index} has a name of no text")
    used = int((program.instructions[:, 0] >> 16).max(initial=0)) if program.count else -1
    count = program.images * len(program.layers)
    _expect(used < count, f"an instruction is of layer {used}, there are {count} layers")


def to_dict(program: Program) -> dict[str, Any]:
    """The structure of `program`, without its numbers, as JSON values."""
    return {
        "design": program.design.to_dict(),
        "workload_name": program.workload_name,
        "program_address": program.program_address,
        "memory_bytes": program.memory_bytes,
        "images": program.images,
        "image_bytes": program.image_bytes,
        "regions": {name: asdict(region) for name, region in program.regions.items()},
        "tensors": [layout.to_dict() for layout in program.tensors.values()],
        "inputs": list(program.inputs),
        "outputs": list(program.outputs),
        "layers": [asdict(layer) for layer in program.layers],
    }


def from_dict(described: dict[str, Any], numbers: Mapping[str, NDArray[Any]]) -> Program:
    """The program that `to_dict` described; ValueError, KeyError or TypeError when it is not."""
    layouts = [TensorLayout.from_dict(entry) for entry in described["tensors"]]
    return Program(
        design=NpuDesign.from_dict(described["design"]),
        workload_name=described["workload_name"],
        instructions=numbers["instructions"].reshape(-1, INSTRUCTION_WORDS),
        image=numbers["image"],
        program_address=described["program_address"],
        regions={name: Region(**entry) for name, entry in described["regions"].items()},
        tensors={layout.name: layout for layout in layouts},
        inputs=tuple(described["inputs"]),
        outputs=tuple(described["outputs"]),
        layers=tuple(
            LayerInfo(**{**entry, "members": tuple(entry["members"]), "ops": tuple(entry["ops"])})
            for entry in described["layers"]
        ),
        memory_bytes=described["memory_bytes"],
        kept=numbers["kept"],
        images=described["images"],
        image_bytes=described["image_bytes"],
    )
