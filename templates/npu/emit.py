"""Writes what a chip or board needs: SystemVerilog with the design's sizes, and memory images."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import ArtifactError
from intaglio.hw.sources import manual, rtl_sources
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import INSTRUCTION_BYTES, ISA_VERSION
from intaglio.templates.npu.program import Program

TOP = "intaglio_npu"
"""Module and file of the generated top: `npu_top` with the numbers of one design."""
_CORE = "npu_top"
_READ_AHEAD_BEATS = 256


def parameters(design: NpuDesign) -> dict[str, int]:
    """The parameters of `npu_top` for `design`."""
    latency = 1 << (design.memory_latency_cycles - 1).bit_length()
    return {
        "Lanes": design.lanes,
        "Groups": design.groups,
        "ActWords": design.activation_words,
        "WeightWords": design.weight_words,
        "AccWords": design.accumulator_words,
        "MemBytes": design.memory_bytes_per_cycle,
        "WindowColumns": design.window_columns,
        "RowPipes": design.row_lanes,
        "WeightBits": design.weight_bits,
        "ReadAhead": max(_READ_AHEAD_BEATS, latency),
    }


def emit(program: Program, directory: Path) -> tuple[Path, ...]:
    """Write `rtl/` and `images/` into `directory` and return every file, relative to it."""
    files = emit_hardware(program.design, directory) + emit_images(program, directory)
    return tuple(sorted(files))


def emit_hardware(design: NpuDesign, directory: Path) -> tuple[Path, ...]:
    """Write `rtl/` into `directory` and return every file, relative to it.

    `rtl/files.f` lists the sources in the order that tools read them, the top last; `rtl/npu.md`
    describes the hardware.
    """
    rtl = directory / "rtl"
    rtl.mkdir(parents=True)
    names = []
    for source in rtl_sources("npu"):
        (rtl / source.name).write_bytes(source.read_bytes())
        names.append(source.name)
        if source.stem == _CORE:
            core = source.read_text(encoding="utf-8")
    (rtl / f"{TOP}.sv").write_text(render_top(core, design), encoding="utf-8")
    names.append(f"{TOP}.sv")
    (rtl / "files.f").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    document = manual("npu")
    (rtl / document.name).write_bytes(document.read_bytes())
    return tuple(sorted(path.relative_to(directory) for path in rtl.iterdir()))


def emit_images(program: Program, directory: Path) -> tuple[Path, ...]:
    """Write `images/` into `directory` and return every file, relative to it.

    They hold what memory holds before a run, as bytes and for `$readmemh`, and where everything is.
    """
    folder = directory / "images"
    folder.mkdir(parents=True)
    image = program.memory_image()
    (folder / "memory.bin").write_bytes(image.tobytes())
    beats = hexadecimal(image, program.design.memory_bytes_per_cycle)
    (folder / "memory.hex").write_text(beats, encoding="ascii")
    text = json.dumps(_memory_map(program), indent=1) + "\n"
    (folder / "memory_map.json").write_text(text, encoding="utf-8")
    return tuple(sorted(path.relative_to(directory) for path in folder.iterdir()))


def render_top(core: str, design: NpuDesign) -> str:
    """The module `intaglio_npu`: the ports of `npu_top`, whose source is `core`, with fixed sizes.

    Raises ArtifactError when `core` is not the source of `npu_top`.
    """
    found = re.search(rf"^module {_CORE} #\((.*?)^\) \(\n(.*?)^\);", core, re.DOTALL | re.MULTILINE)
    if found is None:
        raise ArtifactError(f"the module {_CORE} is not in its source file; install intaglio again")
    ports = _sized(found.group(2), design)
    names = re.findall(r"(\w+)(?=,?\n)", found.group(2))
    values = ",\n".join(f"    .{key}({value})" for key, value in parameters(design).items())
    wires = ",\n".join(f"    .{name}({name})" for name in names)
    return (
        f"// The npu of design {design.name!r}: {design.rows} x {design.cols} multipliers, "
        f"{design.activation_buffer_kib} KiB of activations,\n"
        f"// {design.weight_buffer_kib} KiB of weights, {design.accumulator_buffer_kib} KiB of "
        f"accumulators, {design.memory_bytes_per_cycle} bytes of memory a cycle.\n\n"
        f"module {TOP} (\n{ports});\n"
        f"  {_CORE} #(\n{values}\n  ) u_npu (\n{wires}\n  );\nendmodule\n"
    )


def _sized(ports: str, design: NpuDesign) -> str:
    """Port declarations with the width of memory as a number, columns kept."""
    for width, bits in (
        ("[8*MemBytes-1:0]", 8 * design.memory_bytes_per_cycle),
        ("[MemBytes-1:0]", design.memory_bytes_per_cycle),
    ):
        ports = ports.replace(width, f"[{bits - 1}:0]".ljust(len(width)))
    return ports


def _memory_map(program: Program) -> dict[str, object]:
    """Where in memory everything is, as JSON values."""
    return {
        "memory_bytes": program.memory_bytes,
        "images": program.images,
        "image_bytes": program.image_bytes,
        "program": {
            "address": program.program_address,
            "instructions": program.count,
            "instruction_bytes": INSTRUCTION_BYTES,
            "isa_version": ISA_VERSION,
        },
        "regions": {name: asdict(region) for name, region in program.regions.items()},
        "inputs": [program.tensors[name].to_dict() for name in program.inputs],
        "outputs": [program.tensors[name].to_dict() for name in program.outputs],
    }


def hexadecimal(image: NDArray[np.uint8], beat_bytes: int) -> str:
    """One line of hexadecimal digits a beat, the byte at the highest address first."""
    padded = np.zeros(-(-image.size // beat_bytes) * beat_bytes, np.uint8)
    padded[: image.size] = image
    digits = padded.reshape(-1, beat_bytes)[:, ::-1].tobytes().hex()
    width = 2 * beat_bytes
    return "".join(digits[i : i + width] + "\n" for i in range(0, len(digits), width))
