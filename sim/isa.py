"""The functional interpreter: what a Program computes, from the documented instruction set alone.

It knows neither the mapper nor the reference.  In program order it says what the program means;
in a random order that only queues and tokens constrain it shows a missing token, as a wrong
value, an undefined read or a deadlock.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import UsageError, VerificationError
from intaglio.sim.kept import Keeping
from intaglio.sim.machine import Machine
from intaglio.templates.npu.isa import TOKEN_LIMIT, Instruction, Unit, decode
from intaglio.templates.npu.layout import TensorLayout
from intaglio.templates.npu.program import Program

QUEUE_DEPTH = 16
"""Instructions that a unit's queue holds."""

Progress = Callable[[int, int], None]
"""Called with instructions done and instructions in all."""


class Tokens:
    """The counters between units, indexed by `(producer, consumer)`."""

    def __init__(self) -> None:
        self.counts = {(a, b): 0 for a in Unit for b in Unit if a != b}

    def missing(self, instruction: Instruction) -> tuple[Unit, ...]:
        """Units whose token `instruction` waits for."""
        unit = instruction.unit
        return tuple(source for source in instruction.pop if not self.counts[source, unit])

    def full(self, instruction: Instruction) -> tuple[Unit, ...]:
        """Units whose counter has no room for the push of `instruction`."""
        unit = instruction.unit
        return tuple(
            target for target in instruction.push if self.counts[unit, target] >= TOKEN_LIMIT
        )

    def take(self, instruction: Instruction) -> None:
        """Pop what `instruction` needs."""
        for source in instruction.pop:
            self.counts[source, instruction.unit] -= 1

    def give(self, instruction: Instruction) -> None:
        """Push what `instruction` grants."""
        for target in instruction.push:
            self.counts[instruction.unit, target] += 1


def describe(program: Program, instructions: Sequence[Instruction], index: int) -> str:
    """How messages name an instruction: its index, layer and opcode."""
    instruction = instructions[index]
    image, layer = program.owner(instruction.layer)
    of = "" if program.images == 1 else f" of image {image}"
    return f"instruction {index} (layer '{layer.name}'{of}, {instruction.opcode.name})"


def program_order(program: Program, instructions: Sequence[Instruction]) -> Iterator[int]:
    """Indices in the order of the text, with the tokens checked along the way.

    Raises VerificationError when an instruction's token was not pushed by an earlier one, or when
    a counter overflows.
    """
    tokens = Tokens()
    for index, instruction in enumerate(instructions):
        missing = tokens.missing(instruction)
        if missing:
            raise VerificationError(
                f"{describe(program, instructions, index)} waits for a token of "
                f"{_names(missing)}, which no earlier instruction pushes"
            )
        tokens.take(instruction)
        full = tokens.full(instruction)
        if full:
            raise VerificationError(
                f"{describe(program, instructions, index)} pushes more than {TOKEN_LIMIT} tokens "
                f"to {_names(full)}"
            )
        tokens.give(instruction)
        yield index


def random_order(program: Program, instructions: Sequence[Instruction], seed: int) -> Iterator[int]:
    """Indices in a random order that only fetch, queues of 16 and tokens constrain.

    Raises VerificationError when no unit can go on; the message says who waits for whom.
    """
    chooser = random.Random(seed)
    tokens = Tokens()
    queues: dict[Unit, deque[int]] = {unit: deque() for unit in Unit}
    fetched = 0
    for _ in instructions:
        while fetched < len(instructions) and len(queues[instructions[fetched].unit]) < QUEUE_DEPTH:
            queues[instructions[fetched].unit].append(fetched)
            fetched += 1
        heads = [queue[0] for queue in queues.values() if queue]
        able = [
            index
            for index in heads
            if not tokens.missing(instructions[index]) and not tokens.full(instructions[index])
        ]
        if not able:
            raise VerificationError(_deadlock(program, instructions, heads, tokens))
        index = chooser.choice(able)
        instruction = instructions[index]
        queues[instruction.unit].popleft()
        tokens.take(instruction)
        tokens.give(instruction)
        yield index


def _names(units: Sequence[Unit]) -> str:
    return " and ".join(unit.name.lower() for unit in units)


def _deadlock(
    program: Program, instructions: Sequence[Instruction], heads: Sequence[int], tokens: Tokens
) -> str:
    waits = []
    for index in heads:
        missing, full = tokens.missing(instructions[index]), tokens.full(instructions[index])
        reason = (
            f"a token of {_names(missing)}" if missing else f"room for tokens to {_names(full)}"
        )
        waits.append(f"{describe(program, instructions, index)} waits for {reason}")
    return "deadlock: " + "; ".join(waits)


def run(
    program: Program,
    inputs: Mapping[str, np.ndarray],
    order: int | None = None,
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:
    """Execute `program` on `inputs` (integers by tensor name) and return every activation tensor.

    Tensors have the images of a run along axis 0.
    `order` is None for the order of the text, or the seed of a random legal interleaving.

    Raises VerificationError when an input is missing or an instruction is illegal; the sentence
    names the instruction's index and layer.
    """
    machine = loaded(program, inputs)
    instructions = decode(program.instructions)
    sequence = (
        program_order(program, instructions)
        if order is None
        else random_order(program, instructions, order)
    )
    keeping = Keeping(program)
    for done, index in enumerate(sequence):
        try:
            machine.execute(instructions[index])
        except VerificationError as error:
            raise VerificationError(f"{describe(program, instructions, index)} {error}") from None
        keeping.note(machine, index, instructions[index])
        if progress is not None:
            progress(done + 1, len(instructions))
    found = keeping.after(machine)
    return {
        name: np.concatenate(
            [_read(program.layout(name, image), *found) for image in range(program.images)]
        )
        for name in program.tensors
    }


def loaded(program: Program, inputs: Mapping[str, np.ndarray]) -> Machine:
    """A machine whose memory holds constants, instructions and inputs; nothing else is defined.

    Raises UsageError when an input is missing.
    """
    machine = Machine(program.design, program.memory_bytes)
    image = program.memory_image()
    machine.memory.write(np.zeros(1, np.int64), image[None, :], True)
    for name in program.inputs:
        if name not in inputs:
            raise UsageError(
                f"input '{name}' is missing; give its integers under that name, of shape "
                f"{program.tensors[name].shape}"
            )
        for number, values in enumerate(images_of(program, inputs[name])):
            layout = program.layout(name, number)
            raw = layout.pack(values)
            machine.memory.write(np.array([layout.address]), raw[None, :], True)
    return machine


def images_of(program: Program, values: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """One tensor of all images of a run, along axis 0, as one of each; one image is itself.

    Raises UsageError when there are more or fewer images.
    """
    if program.images == 1:
        return [values]
    if len(values) != program.images:
        raise UsageError(
            f"a run of '{program.workload_name}' takes {program.images} images, {len(values)} are "
            f"given; give {program.images} along axis 0"
        )
    return [values[image : image + 1] for image in range(program.images)]


def _read(
    layout: TensorLayout, data: NDArray[np.uint8], defined: NDArray[np.bool_]
) -> NDArray[np.int64]:
    region = slice(layout.address, layout.address + layout.bytes)
    undefined = np.flatnonzero(~defined[region])
    if undefined.size:
        raise VerificationError(
            f"tensor '{layout.name}': byte {int(undefined[0])} of its {layout.bytes} was never "
            "written, or from a word that nothing has written"
        )
    return layout.unpack(data[region])
