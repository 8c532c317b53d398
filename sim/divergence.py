"""The first write of the hardware that is not the interpreter's, and what it tells.

The interpreter executes the program in the order of its text; each unit of the hardware does its
own instructions in that order too, so its writes fall to instructions by counting.  The first
instruction in program order whose writes differ had right operands in every memory: the fault is
in its unit, or in the memory it reads.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import VerificationError
from intaglio.hw.npu_observer import EventKind, Events
from intaglio.sim import effects, isa
from intaglio.sim.effects import Effect
from intaglio.sim.hazards import box_words
from intaglio.sim.kept import Keeping
from intaglio.templates.npu.isa import Instruction, Opcode, Unit, decode
from intaglio.templates.npu.program import Program

IN_PROGRAM = "program, not hardware"
"""The stage of a fault that hardware and interpreter agree on."""
_NEVER = -1


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where hardware and interpreter part.

    index        the instruction, in the order of the text
    write        which of its writes, from 0
    cycle        the clock cycle of the hardware in which it shows; None where only the program is
                 at fault
    stage        the part of the unit that is at fault, as far as its ports tell
    what         the wrong write in words
    lane         the element of the word, where the content is wrong
    expected     its value in the interpreter, and
    got          in hardware; both None where the address is wrong
    accumulator  the sum before requantisation, expected and got, where there is one
    """

    index: int
    write: int
    cycle: int | None
    stage: str
    what: str
    lane: int | None = None
    expected: int | None = None
    got: int | None = None
    accumulator: tuple[int, int] | None = None


class Comparison:
    """Hardware against interpreter on one job; `found` is the first divergence."""

    def __init__(self, program: Program, inputs: Mapping[str, NDArray[np.int64]]) -> None:
        self.found: Divergence | None = None
        self.machine = isa.loaded(program, inputs)
        self.instructions = decode(program.instructions)
        self.writer = np.full(program.design.activation_words, _NEVER, dtype=np.int64)
        """Of every word of the activation buffer, the instruction that wrote it last."""
        self.stored = np.full(program.map_bytes, _NEVER, dtype=np.int64)
        """Of every byte of memory, and of the tensors that stay on the chip, the instruction that
        made what was stored there last."""
        self.keeping = Keeping(program)
        self._design = program.design
        self._streams: dict[EventKind, Events] = {}
        self._retired: dict[Unit, list[int]] = {unit: [] for unit in Unit}
        self._done: dict[Unit, list[int]] = {unit: [] for unit in Unit}
        self._next = 0
        self._effect: Effect | None = None
        self._before: tuple[NDArray[np.int32], NDArray[np.bool_]] | None = None
        self._executed = False

    def feed(self, kind: EventKind, events: Events) -> None:
        """Take later events of `kind`; addresses of memory are relative to its base here."""
        if kind is EventKind.RETIRE:
            for unit, cycle in zip(events.addresses.tolist(), events.cycles.tolist(), strict=True):
                self._retired[Unit(unit)].append(cycle)
        elif kind in self._streams:
            self._streams[kind] = self._streams[kind].then(events)
        else:
            self._streams[kind] = events

    def advance(self, last_cycle: int | None = None) -> None:
        """Compare as far as the events go, or to the end when the job ended in `last_cycle`."""
        while self.found is None and self._next < len(self.instructions):
            if not self._step(last_cycle):
                return
        if self.found is None and last_cycle is not None:
            self.found = self._left_over()

    def _step(self, last_cycle: int | None) -> bool:
        """Compare the next instruction; False when its writes are not all there yet."""
        instruction = self.instructions[self._next]
        if not self._executed:
            try:
                self._execute(instruction)
            except VerificationError as error:
                self.found = Divergence(self._next, 0, None, IN_PROGRAM, str(error))
                return True
        effect = self._effect
        if effect is not None:
            events = self._streams[effect.kind][: len(effect.addresses)]
            if len(events) < len(effect.addresses) and last_cycle is None:
                return False
            write = _first_wrong(effect, events)
            if write is not None:
                self.found = self._explain(instruction, effect, write, last_cycle)
                return True
            self._consume(instruction, effect)
        self._done[instruction.unit].append(self._next)
        self._next += 1
        self._executed = False
        return True

    def _execute(self, instruction: Instruction) -> None:
        if instruction.opcode is Opcode.COMPUTE:
            words = effects.tile_words(instruction)
            words = words[words < len(self.machine.accumulators)]
            self._before = (
                self.machine.accumulators[words],
                self.machine.accumulated[words],
            )
        self._effect = effects.execute(self.machine, instruction)
        kept = self.keeping.note(self.machine, self._next, instruction)
        self.stored[kept] = self._next
        self._executed = True
        if self._effect is not None:
            self._note_writer(instruction, self._effect)

    def _note_writer(self, instruction: Instruction, effect: Effect) -> None:
        match effect.kind:
            case (
                EventKind.ACTIVATION_LOAD
                | EventKind.ACTIVATION_VECTOR
                | EventKind.ACTIVATION_WINDOW
            ):
                self.writer[effect.addresses] = self._next
            case EventKind.MEMORY_STORE:
                beat = self._design.memory_bytes_per_cycle
                words = box_words(instruction)
                makers = np.repeat(self.writer[words], self._design.word_bytes // beat)
                self.stored[effect.addresses[:, None] + np.arange(beat)] = makers[:, None]
            case _:
                return

    def _consume(self, instruction: Instruction, effect: Effect) -> None:
        """Drop the events of an instruction that is as expected."""
        counts = {effect.kind: len(effect.addresses)}
        if instruction.opcode is Opcode.COMPUTE:
            counts[EventKind.ARRAY_READ] = len(effect.addresses)
            counts[EventKind.WEIGHT_FILL] = len(effects.weight_rows(instruction, self._design))
        elif instruction.opcode is Opcode.DRAIN:
            counts[EventKind.ACCUMULATOR_READ] = len(effect.addresses)
        for kind, count in counts.items():
            self._streams[kind] = self._streams[kind][count:]

    def _left_over(self) -> Divergence | None:
        """A write after all that are expected."""
        for kind in (
            EventKind.ACTIVATION_LOAD,
            EventKind.WEIGHT_LOAD,
            EventKind.ACCUMULATE,
            EventKind.ACTIVATION_VECTOR,
            EventKind.ACTIVATION_WINDOW,
            EventKind.MEMORY_STORE,
        ):
            if len(self._streams[kind]):
                return self._extra(_UNIT[kind], kind)
        return None

    def _extra(self, unit: Unit, kind: EventKind) -> Divergence:
        """The first event of `kind` belongs to an instruction that has made all its writes."""
        event = self._streams[kind]
        cycle, address = int(event.cycles[0]), int(event.addresses[0])
        order = min(bisect_left(self._retired[unit], cycle), len(self._done[unit]) - 1)
        what = f"writes {_place(kind, address)} after its last write"
        return Divergence(self._done[unit][order], 0, cycle, "number of writes", what)

    def _explain(
        self, instruction: Instruction, effect: Effect, write: int, last_cycle: int | None
    ) -> Divergence:
        """What the wrong write, or the lack of one, of the next instruction tells."""
        events = self._streams[effect.kind]
        wanted = int(effect.addresses[write])
        if write >= len(events):
            what = f"does not write {_place(effect.kind, wanted)}"
            return Divergence(self._next, write, last_cycle or 0, "number of writes", what)
        cycle, address = int(events.cycles[write]), int(events.addresses[write])
        unit = instruction.unit
        retired, own = self._retired[unit], len(self._done[unit])
        late = write == 0 and address != wanted and own > 0 and wanted in events.addresses
        if late and retired[own - 1 : own] and cycle <= retired[own - 1]:
            return self._extra(unit, effect.kind)
        if address != wanted and retired[own : own + 1] and retired[own] < cycle:
            what = f"does not write {_place(effect.kind, wanted)}"
            return Divergence(self._next, write, retired[own], "number of writes", what)
        if address != wanted:
            what = (
                f"writes {_place(effect.kind, address)}, expected is {_place(effect.kind, wanted)}"
            )
            return Divergence(self._next, write, cycle, f"{_MEMORY[effect.kind]} addresses", what)
        if instruction.opcode is Opcode.COMPUTE:
            return self._explain_sum(instruction)
        return self._explain_data(instruction, effect, write)

    def _explain_data(self, instruction: Instruction, effect: Effect, write: int) -> Divergence:
        event = self._streams[effect.kind][write : write + 1]
        lane = int(np.argmax((event.data != effect.data[write]) & effect.defined[write]))
        kind = np.dtype(np.int8 if -128 <= instruction["lo"] < 0 else np.uint8)
        found = Divergence(
            self._next,
            write,
            int(event.cycles[0]),
            _STAGE.get(instruction.opcode, "window and requantisation"),
            f"writes {_place(effect.kind, int(effect.addresses[write]))}",
            lane,
            int(effect.data[write].view(kind)[lane]),
            int(event.data[0].view(kind)[lane]),
        )
        if instruction.opcode is Opcode.DRAIN:
            return self._with_accumulator(instruction, found, lane)
        return found

    def _with_accumulator(self, drain: Instruction, found: Divergence, lane: int) -> Divergence:
        """`found` with the sum that it came from, and what is wrong about that."""
        reads = self._streams[EventKind.ACCUMULATOR_READ]
        if found.write >= len(reads):
            return replace(found, stage="accumulator reads")
        wanted = drain["source_address"] + found.write
        column = drain["group"] * self._design.lanes + lane
        expected = int(self.machine.accumulators[wanted, column])
        got = int(reads.data[found.write].view(np.int32)[column])
        read = int(reads.addresses[found.write])
        stage, what = found.stage, found.what
        if read != wanted:
            stage = "accumulator addresses"
            what += f" from accumulator word {read}, expected is {wanted}"
        elif expected != got:
            stage = "accumulator reads"
        return replace(found, stage=stage, what=what, accumulator=(expected, got))

    def _explain_sum(self, compute: Instruction) -> Divergence:
        """The weight tile, pixel and column at which a sum goes wrong."""
        pixels = compute["y"] * compute["x"]
        words = effects.tile_words(compute)
        events = self._streams[EventKind.ACCUMULATE]
        assert self._before is not None
        self.machine.accumulators[words], self.machine.accumulated[words] = self._before
        for tile in range(effects.tiles(compute)):
            self.machine.execute(effects.one_tile(compute, tile, self._design))
            wanted = self.machine.accumulators[words]
            got = events.data[tile * pixels : (tile + 1) * pixels].view(np.int32)
            if (wanted != got).any():
                break
        pixel, column = (int(i) for i in np.argwhere(wanted != got)[0])
        write = tile * pixels + pixel
        expected, found = int(wanted[pixel, column]), int(got[pixel, column])
        divergence = Divergence(
            self._next,
            write,
            int(events.cycles[write]),
            "multipliers and accumulators",
            f"writes {_place(EventKind.ACCUMULATE, int(words[pixel]))}",
            column,
            expected,
            found,
            (expected, found),
        )
        return self._with_operands(compute, divergence, tile)

    def _with_operands(self, compute: Instruction, found: Divergence, tile: int) -> Divergence:
        """`found`, blamed on the address generators when they went wrong before it."""
        rows = self._design.tile_rows(8 >> compute["packing"])
        elements = effects.array_reads(compute)[: found.write + 1]
        fills = effects.weight_rows(compute, self._design)[: (tile + 1) * rows]
        for kind, stage, wanted, place in (
            (EventKind.WEIGHT_FILL, "weight addresses", fills, "weight tile row"),
            (EventKind.ARRAY_READ, "activation addresses", elements, "activation element"),
        ):
            events = self._streams[kind][: len(wanted)]
            wrong = np.flatnonzero(events.addresses != wanted[: len(events)])
            if wrong.size:
                first = int(wrong[0])
                what = (
                    f"{found.what} after reading {place} {int(events.addresses[first])}, "
                    f"expected is {int(wanted[first])}"
                )
                cycle = int(events.cycles[first])
                return replace(found, stage=stage, what=what, cycle=cycle)
        return found


_UNIT = {
    EventKind.ACTIVATION_LOAD: Unit.LOAD,
    EventKind.WEIGHT_LOAD: Unit.LOAD,
    EventKind.ACCUMULATE: Unit.COMPUTE,
    EventKind.ACTIVATION_VECTOR: Unit.VECTOR,
    EventKind.ACTIVATION_WINDOW: Unit.WINDOW,
    EventKind.MEMORY_STORE: Unit.STORE,
}
_MEMORY = {
    EventKind.ACTIVATION_LOAD: "buffer",
    EventKind.WEIGHT_LOAD: "buffer",
    EventKind.ACCUMULATE: "accumulator",
    EventKind.ACTIVATION_VECTOR: "output",
    EventKind.ACTIVATION_WINDOW: "output",
    EventKind.MEMORY_STORE: "memory",
}
_STAGE = {
    Opcode.LOAD: "data from memory",
    Opcode.DRAIN: "requantisation",
    Opcode.SOFTMAX: "softmax",
    Opcode.NORM: "norm",
    Opcode.STORE: "data from the buffer",
}


def _place(kind: EventKind, address: int) -> str:
    match kind:
        case EventKind.ACTIVATION_LOAD | EventKind.ACTIVATION_VECTOR | EventKind.ACTIVATION_WINDOW:
            return f"word {address} of the activation buffer"
        case EventKind.WEIGHT_LOAD:
            return f"word {address} of the weight buffer"
        case EventKind.ACCUMULATE:
            return f"word {address} of the accumulators"
        case _:
            return f"byte {address:#x} of memory"


def _first_wrong(effect: Effect, events: Events) -> int | None:
    """The first of the writes that differs or is not there."""
    count = len(events)
    wrong = events.addresses != effect.addresses[:count]
    data = events.data[effect.unchecked :]
    if len(data):
        checked = len(data)
        different = (data != effect.data[:checked]) & effect.defined[:checked]
        wrong[effect.unchecked :] |= different.any(axis=1)
    if wrong.any():
        return int(np.argmax(wrong))
    return count if count < len(effect.addresses) else None
