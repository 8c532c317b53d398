"""From a wrong word to its cause: the job again on observed hardware, beside the interpreter.

The same RTL is built with its units' writes in view, runs the same images from the same seed, and
every write is compared with the interpreter's.  Then it runs once more to write a waveform of the
cycles around the first difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import VerificationError
from intaglio.hw.npu_model import MemoryModel
from intaglio.hw.npu_observer import EventKind, Events, NpuObserver, observed
from intaglio.hw.store import Progress
from intaglio.hw.verilator import Model, build
from intaglio.sim import effects
from intaglio.sim.divergence import IN_PROGRAM, Comparison, Divergence
from intaglio.sim.location import Location
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import Instruction, Opcode
from intaglio.templates.npu.program import Program

WAVEFORM = "difference.vcd"
"""The file with the waveform, in the folder that the caller names."""
_BEFORE, _AFTER = 48, 16
"""Cycles of the waveform before and after the one in which the fault shows."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A run that went wrong, and all it takes to do it again.

    `initial` gives the memory before a run; those before `run` are done first, so that hardware
    and random stalls are in the same state.  `wrong_byte` is a byte of memory that was wrong.
    """

    program: Program
    hardware: Model
    memory: MemoryModel
    seed: int
    run: int
    inputs: Mapping[str, NDArray[np.int64]]
    initial: Callable[[int], NDArray[np.uint8]]
    wrong_byte: int | None
    max_cycles: int
    watchdog: int


def localise(
    job: Replay, folder: Path, *, cache: Path | None = None, progress: Progress | None = None
) -> Location | None:
    """The first instruction at fault; None when nothing differs now, or a bus rule is broken.

    Writes the waveform to `folder`.  Where the hardware does what the program says, the program is
    at fault, and the instruction is the one that made `wrong_byte`.
    Raises ToolError when the observed hardware cannot be built.
    """
    library = build(observed(job.hardware), cache=cache, progress=progress)
    comparison = Comparison(job.program, job.inputs)
    try:
        started = _observe(job, library, comparison, progress)
    except VerificationError:
        return None
    found = comparison.found
    if found is None:
        return _in_program(job, comparison)
    if found.cycle is None:
        return _location(job, comparison, found, None)
    cycle = found.cycle - started
    location = _location(job, comparison, found, cycle)
    return _with_waveform(job, library, location, cycle, started, folder / WAVEFORM)


def _observe(job: Replay, library: Path, comparison: Comparison, progress: Progress | None) -> int:
    """Run the job beside the interpreter; the clock cycle in which it started."""
    with NpuObserver(library, job.memory, job.seed) as npu:
        _run_earlier(job, npu)
        npu.observe(True)

        def compare(cycles: int) -> None:
            if progress is not None:
                progress(
                    "look for the first difference", min(cycles, job.max_cycles), job.max_cycles
                )
            if comparison.found is None:
                _feed(npu, comparison, job.memory.base)
                comparison.advance()

        _run(job, npu, job.run, job.max_cycles, compare)
        if comparison.found is None:
            _feed(npu, comparison, job.memory.base)
            comparison.advance(npu.ended)
        return npu.started


def _run_earlier(job: Replay, npu: NpuObserver) -> None:
    for run in range(job.run):
        _run(job, npu, run, job.max_cycles, None)


def _run(
    job: Replay,
    npu: NpuObserver,
    run: int,
    max_cycles: int,
    progress: Callable[[int], None] | None,
) -> None:
    npu.memory[:] = job.initial(run)
    npu.run(
        job.program.program_address,
        job.program.count,
        max_cycles=max_cycles,
        watchdog=job.watchdog,
        progress=progress,
    )


def _feed(npu: NpuObserver, comparison: Comparison, base: int) -> None:
    for kind in EventKind:
        events = npu.take(kind)
        if kind is EventKind.MEMORY_STORE:
            events = Events(events.cycles, events.addresses - base, events.data)
        comparison.feed(kind, events)


def _location(
    job: Replay, comparison: Comparison, found: Divergence, cycle: int | None
) -> Location:
    instruction = comparison.instructions[found.index]
    siblings = [
        index
        for index, other in enumerate(comparison.instructions)
        if other.layer == instruction.layer and other.unit is instruction.unit
    ]
    position = _position(instruction, found.write, job.program.design)
    if found.lane is not None:
        position += f", lane {found.lane}"
    image, layer = job.program.owner(instruction.layer)
    return Location(
        image=job.run * job.program.images + image,
        index=found.index,
        instructions=len(comparison.instructions),
        instruction=" ".join(str(instruction).split()),
        layer=layer.name,
        unit=instruction.unit.name.lower(),
        ordinal=siblings.index(found.index) + 1,
        siblings=len(siblings),
        position=position,
        stage=found.stage,
        what=found.what,
        cycle=cycle,
        expected=found.expected,
        got=found.got,
        accumulator=found.accumulator,
    )


def _with_waveform(
    job: Replay, library: Path, location: Location, cycle: int, started: int, path: Path
) -> Location:
    """`location` with the waveform around its cycle, written aside and renamed."""
    first, last = max(0, cycle - _BEFORE), cycle + _AFTER
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}")
    with NpuObserver(library, job.memory, job.seed) as npu:
        _run_earlier(job, npu)
        npu.trace(aside, started + first, started + last, started)
        _run(job, npu, job.run, last + _AFTER, None)
    aside.replace(path)
    return replace(location, waveform=str(path), window=(first, last))


def _in_program(job: Replay, comparison: Comparison) -> Location | None:
    """The instruction that made the wrong byte, the hardware being as the interpreter says."""
    if job.wrong_byte is None:
        return None
    index = int(comparison.stored[job.wrong_byte])
    if index < 0:
        return None
    found_bytes, _ = comparison.keeping.after(comparison.machine)
    value = int(found_bytes[job.wrong_byte])
    what = (
        f"the hardware does what the program says and makes byte {job.wrong_byte:#x} of memory "
        f"{value}; what the network needs is another value"
    )
    found = Divergence(index, 0, None, IN_PROGRAM, what)
    return _location(job, comparison, found, None)


def _position(instruction: Instruction, write: int, design: NpuDesign) -> str:
    """Where in its tile an instruction makes a write."""
    match instruction.opcode:
        case Opcode.LOAD:
            rows = instruction["pad_top"] + instruction["rows"] + instruction["pad_bottom"]
            words = instruction["pad_left"] + instruction["words"] + instruction["pad_right"]
            return _box_position(write, rows, words)
        case Opcode.STORE:
            beats = design.word_bytes // design.memory_bytes_per_cycle
            return _box_position(write // beats, instruction["rows"], instruction["words"])
        case Opcode.COMPUTE:
            tile, pixel = divmod(write, instruction["y"] * instruction["x"])
            block, fy, fx = effects.tile_indices(instruction, tile)
            y, x = divmod(pixel, instruction["x"])
            return f"weight tile {tile} (block {block}, fy {fy}, fx {fx}), pixel ({y}, {x})"
        case Opcode.NORM:
            block, row = divmod(write // (1 + instruction["output_wide"]), instruction["rows"])
            return f"row {row}, block {block} of its tile"
        case Opcode.SOFTMAX:
            row, block = divmod(write, instruction["blocks"])
            return f"row {row}, block {block} of its tile"
        case _:
            y, x = divmod(write, instruction["x"])
            return f"pixel ({y}, {x}) of its tile"


def _box_position(word: int, rows: int, words: int) -> str:
    rest, column = divmod(word, words)
    plane, row = divmod(rest, rows)
    return f"plane {plane}, row {row}, word {column} of its box"
