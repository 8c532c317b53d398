"""Proof by running: the RTL in Verilator against the integer reference, word for word.

For every image the reference computes every activation tensor, the hardware runs the whole program
from a memory in which every word it has to write starts as the complement of what it must become,
and then every word of every tensor is compared, padding lanes included, and everything else in
memory must be as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler import reference
from intaglio.compiler.workload import Workload
from intaglio.errors import VerificationError
from intaglio.hw.npu_model import HUNG, Job, MemoryModel, NpuModel
from intaglio.hw.verilator import Model, build
from intaglio.sim.localise import WAVEFORM, Replay, localise
from intaglio.sim.location import Location
from intaglio.sim.npu import simulate
from intaglio.sim.stimulus import stimulus
from intaglio.sim.trace import Trace
from intaglio.sim.verify_report import Difference, LayerCycles, VerifyReport
from intaglio.templates.npu.isa import Unit
from intaglio.templates.npu.layout import TensorLayout
from intaglio.templates.npu.program import Program

Progress = Callable[[str, int, int], None]
Values = Mapping[str, NDArray[np.int64]]
Bytes = NDArray[np.uint8]

MEMORY_BASE = 0x12_3456_7000
"""Where the memory lies, so that every bit of the address path is used; a multiple of 4 KiB."""
WATCHDOG_CYCLES = 100_000
"""Cycles without progress after which the hardware gives up."""
_PAGE = 4096
_ERRORS = {
    1: "met an illegal instruction",
    2: "got an error response to a memory read",
    3: "got an error response to a memory write",
    4: "made no progress until its watchdog ended",
    HUNG: "did not finish",
}


@dataclass(frozen=True, slots=True)
class Bench:
    """What is verified: a program for a workload, on the hardware to build.

    `stall_permille` adds random stalls on every channel: the same words, at other times.
    """

    workload: Workload
    program: Program
    hardware: Model
    stall_permille: int = 0


def verify(
    bench: Bench,
    *,
    images: int = 1,
    data: Mapping[str, NDArray[np.floating]] | None = None,
    seed: int = 0,
    cache: Path | None = None,
    diagnosis: Path | None = None,
    progress: Progress | None = None,
) -> VerifyReport:
    """Run `images` images through the RTL and compare every word of every tensor.

    `data` holds real inputs by name, images along axis 0; without it integers are drawn from `seed`
    over the whole range of each input's type.  `cache` is the folder of built models.  With a
    folder for the `diagnosis` a fault is traced to its instruction, and its waveform is left there;
    the note of a VerificationError says where.
    Raises UsageError when `data` do not fit, ToolError when the hardware cannot be built, and
    VerificationError when it stops, breaks a bus rule or writes outside its tensors.
    """
    inputs = stimulus(bench.workload, images, data, seed)
    if diagnosis is not None:
        (diagnosis / WAVEFORM).unlink(missing_ok=True)
    library = build(bench.hardware, cache=cache, progress=progress)
    trace = simulate(bench.program)
    memory = MemoryModel(
        MEMORY_BASE,
        -(-bench.program.memory_bytes // _PAGE) * _PAGE,
        bench.program.design.memory_latency_cycles,
        bench.stall_permille,
    )
    cause = _Cause(bench, memory, seed, inputs, trace.cycles, diagnosis, cache, progress)
    outcomes = []
    with NpuModel(library, memory, seed) as npu:
        for image in range(images):
            step = _Step(f"run image {image + 1} of {images} in RTL", trace.cycles, progress)
            try:
                outcomes.append(_run_image(bench, npu, _one(inputs, image), image, step))
            except VerificationError as error:
                where = cause.of(image)
                if where is not None:
                    error.add_note(str(where))
                raise
    report = _report(bench, seed, trace, outcomes)
    if report.first is None:
        return report
    image = report.first.image
    return replace(report, location=cause.of(image, outcomes[image].wrong_byte))


def _one(inputs: Values, image: int) -> Values:
    return {name: values[image : image + 1] for name, values in inputs.items()}


@dataclass(frozen=True, slots=True)
class _Cause:
    """Finds where a fault comes from, when there is a folder for the `diagnosis`."""

    bench: Bench
    memory: MemoryModel
    seed: int
    inputs: Values
    simulated: int
    diagnosis: Path | None
    cache: Path | None
    progress: Progress | None

    def of(self, image: int, wrong_byte: int | None = None) -> Location | None:
        """The instruction at fault when `image` went wrong, as far as it can be found."""
        if self.diagnosis is None:
            return None
        job = Replay(
            program=self.bench.program,
            hardware=self.bench.hardware,
            memory=self.memory,
            seed=self.seed,
            image=image,
            inputs=_one(self.inputs, image),
            initial=self._initial,
            wrong_byte=wrong_byte,
            max_cycles=_cycle_limit(self.bench, self.simulated),
            watchdog=WATCHDOG_CYCLES,
        )
        return localise(job, self.diagnosis, cache=self.cache, progress=self.progress)

    def _initial(self, image: int) -> Bytes:
        expected = _expected(self.bench, _one(self.inputs, image))
        return _initial_memory(self.bench.program, expected, self.memory.bytes)


@dataclass(frozen=True, slots=True)
class _Step:
    """The progress of one image in cycles, of which the simulator expects `total`."""

    name: str
    total: int
    progress: Progress | None

    def __call__(self, cycles: int) -> None:
        if self.progress is not None:
            self.progress(self.name, min(cycles, self.total), self.total)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One image: the job, words compared, words that differ, and the first difference.

    `wrong_byte` is the address of a byte of the first tensor that differs.
    """

    job: Job
    words: int
    mismatches: int
    first: Difference | None
    wrong_byte: int | None


def _run_image(bench: Bench, npu: NpuModel, inputs: Values, image: int, step: _Step) -> _Outcome:
    step(0)
    program = bench.program
    expected = _expected(bench, inputs)
    before = _initial_memory(program, expected, npu.memory.size)
    npu.memory[:] = before
    job = npu.run(
        program.program_address,
        program.count,
        max_cycles=_cycle_limit(bench, step.total),
        watchdog=WATCHDOG_CYCLES,
        progress=step,
    )
    if job.error:
        raise VerificationError(_failure(program, job))
    after = npu.memory
    _check_untouched(program, before, after, expected)
    made = [layout for layout in _distinct(program) if layout.name not in program.inputs]
    results = [
        _compare(bench.workload, layout, expected[layout.name], after, image) for layout in made
    ]
    differences = [first for _, _, first in results if first is not None]
    return _Outcome(
        job,
        words=sum(words for words, _, _ in results),
        mismatches=sum(wrong for _, wrong, _ in results),
        first=differences[0] if differences else None,
        wrong_byte=_first_wrong_byte(made, expected, after),
    )


def _expected(bench: Bench, inputs: Values) -> dict[str, Bytes]:
    """What memory must hold of every tensor after a run."""
    values = reference.run(bench.workload, inputs)
    return {layout.name: layout.pack(values[layout.name]) for layout in _distinct(bench.program)}


def _first_wrong_byte(
    layouts: Sequence[TensorLayout], expected: Mapping[str, Bytes], memory: Bytes
) -> int | None:
    for layout in layouts:
        wrong = expected[layout.name] != memory[_span(layout)]
        if wrong.any():
            return layout.address + int(np.argmax(wrong))
    return None


def _cycle_limit(bench: Bench, simulated: int) -> int:
    slowed = simulated * 1000 // (1000 - min(bench.stall_permille, 999))
    return 10 * slowed + 10 * WATCHDOG_CYCLES


def _distinct(program: Program) -> tuple[TensorLayout, ...]:
    """The layouts in execution order, without those that share the memory of an earlier one."""
    seen: dict[int, TensorLayout] = {}
    for layout in program.tensors.values():
        seen.setdefault(layout.address, layout)
    return tuple(seen.values())


def _span(layout: TensorLayout) -> slice:
    return slice(layout.address, layout.address + layout.bytes)


def _initial_memory(program: Program, expected: Mapping[str, Bytes], size: int) -> Bytes:
    """Constants, instructions and inputs; outputs as the complement of what they must become."""
    memory = np.zeros(size, np.uint8)
    image = program.memory_image()
    memory[: image.size] = image
    for name, data in expected.items():
        memory[_span(program.tensors[name])] = data if name in program.inputs else ~data
    return memory


def _check_untouched(
    program: Program, before: Bytes, after: Bytes, expected: Mapping[str, Bytes]
) -> None:
    changed = before != after
    for name in expected:
        if name not in program.inputs:
            changed[_span(program.tensors[name])] = False
    if changed.any():
        address = int(np.argmax(changed))
        raise VerificationError(
            f"the hardware wrote {int(changed.sum())} bytes outside the tensors it makes, the "
            f"first in {_place(program, address)}"
        )


def _place(program: Program, address: int) -> str:
    for name, region in program.regions.items():
        if region.address <= address < region.end:
            return f"byte {address - region.address} of region '{name}'"
    return f"byte {address:#x}, which belongs to no region"


def _compare(
    workload: Workload, layout: TensorLayout, expected: Bytes, memory: Bytes, image: int
) -> tuple[int, int, Difference | None]:
    """Words compared, words that differ, and the first difference."""
    got = memory[_span(layout)]
    wrong = (expected != got).reshape(-1, layout.lanes).any(axis=1)
    count = int(wrong.sum())
    first = _locate(workload, layout, expected, got, image) if count else None
    return layout.words, count, first


def _locate(
    workload: Workload, layout: TensorLayout, expected: Bytes, got: Bytes, image: int
) -> Difference:
    """The first difference in the order channel, row, column; padding only when nothing else is."""
    maker = {op.output: op.name for op in workload.ops}
    layer = maker.get(layout.name, layout.name)
    wanted, found = layout.unpack(expected), layout.unpack(got)
    if (wanted != found).any():
        index = tuple(int(i) for i in np.argwhere(wanted != found)[0])
        return Difference(
            image, layer, layout.name, index[1], index[2:], int(wanted[index]), int(found[index])
        )
    offset = int(np.argmax(expected != got))
    word, lane = divmod(offset, layout.lanes)
    block, pixel = divmod(word, layout.plane_words)
    return Difference(
        image,
        layer,
        layout.name,
        channel=block * layout.lanes + lane,
        position=divmod(pixel, layout.map[2]),
        expected=int(expected[offset]),
        got=int(got[offset]),
        padding=True,
    )


def _failure(program: Program, job: Job) -> str:
    """Which error the hardware reports, in which layer, and who waits for whom."""
    done = {layer for layer, _ in job.marks}
    open_layers = [layer.name for layer in program.layers if layer.index not in done]
    where = f"in layer '{open_layers[0]}'" if open_layers else "after the last layer"
    what = _ERRORS.get(job.error, f"reports error {job.error}")
    return f"the hardware {what}, {job.cycles} cycles after the start, {where}: " + (
        "; ".join(_waits(job.waiting)) or "no unit is at work"
    )


def _waits(waiting: int) -> list[str]:
    """The WAITING register in words: byte u says what unit u waits for."""
    sentences = []
    for unit in Unit:
        state = waiting >> 8 * unit & 0xFF
        missing = " and ".join(other.name.lower() for other in Unit if state >> other & 1)
        name = unit.name.lower()
        if missing:
            sentences.append(f"{name} waits for a token of {missing}")
        elif state & 0x20:
            sentences.append(f"{name} is busy")
        elif state & 0x10:
            sentences.append(f"{name} has an instruction that it does not start")
    return sentences


def _report(bench: Bench, seed: int, trace: Trace, outcomes: list[_Outcome]) -> VerifyReport:
    firsts = [outcome.first for outcome in outcomes if outcome.first is not None]
    job = outcomes[0].job
    return VerifyReport(
        name=bench.workload.name,
        seed=seed,
        images=len(outcomes),
        words_compared=sum(outcome.words for outcome in outcomes),
        mismatches=sum(outcome.mismatches for outcome in outcomes),
        first=firsts[0] if firsts else None,
        cycles_by_image=tuple(outcome.job.cycles for outcome in outcomes),
        cycles_simulated=trace.cycles,
        layers=_layer_cycles(bench.program, job, trace),
        units=job.units,
        read_beats=job.read_beats,
        write_beats=job.write_beats,
    )


def _layer_cycles(program: Program, job: Job, trace: Trace) -> tuple[LayerCycles, ...]:
    """A layer runs from the last retirement of the one before it to its own.

    A mark is seen a few cycles after the retirement, always as many; the last retirement ends the
    job, so the job's cycles tell how many.
    """
    simulated = {layer.name: layer.cycles for layer in trace.layers}
    edges = [0] + [cycle + job.cycles - job.marks[-1][1] for _, cycle in job.marks]
    names = [program.layers[layer].name for layer, _ in job.marks]
    return tuple(
        LayerCycles(name, end - start, simulated[name])
        for name, start, end in zip(names, edges, edges[1:], strict=False)
    )
