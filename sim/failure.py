"""Why the hardware stopped, in one sentence."""

from __future__ import annotations

from intaglio.hw.npu_model import HUNG, Job
from intaglio.hw.npu_registers import UNIT_BUSY, UNIT_WAITS
from intaglio.templates.npu.isa import Unit
from intaglio.templates.npu.program import LayerInfo, Program

_ERRORS = {
    1: "met an illegal instruction",
    2: "got an error response to a memory read",
    3: "got an error response to a memory write",
    4: "made no progress until its watchdog ended",
    HUNG: "did not finish",
}


def sentence(program: Program, job: Job) -> str:
    """Which error the hardware reports, in which layer, and who waits for whom."""
    done = {layer for layer, _ in job.marks}
    numbers = range(program.images * len(program.layers))
    open_layers = [program.owner(number) for number in numbers if number not in done]
    where = _name(program, *open_layers[0]) if open_layers else "after the last layer"
    what = _ERRORS.get(job.error, f"reports error {job.error}")
    return f"the hardware {what}, {job.cycles} cycles after the start, {where}: " + (
        "; ".join(_waits(job.waiting)) or "no unit is at work"
    )


def _name(program: Program, image: int, layer: LayerInfo) -> str:
    """A layer in words, and of which image when there are several."""
    of = "" if program.images == 1 else f" of image {image} of the run"
    return f"in layer '{layer.name}'{of}"


def _waits(waiting: int) -> list[str]:
    """The WAITING registers in words: byte u says what unit u waits for."""
    sentences = []
    for unit in Unit:
        state = waiting >> 8 * unit & 0xFF
        missing = " and ".join(other.name.lower() for other in Unit if state >> other & 1)
        name = unit.name.lower()
        if missing:
            sentences.append(f"{name} waits for a token of {missing}")
        elif state & UNIT_BUSY:
            sentences.append(f"{name} is busy")
        elif state & UNIT_WAITS:
            sentences.append(f"{name} has an instruction that it does not start")
    return sentences
