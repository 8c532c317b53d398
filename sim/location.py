"""Where a fault of the hardware is: instruction, unit, cycle, values and waveform, as text."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Location:
    """The first instruction, in program order, that does not do what the interpreter says.

    index, instructions   the instruction's index, and how many there are
    instruction           its text
    layer, unit           where it belongs
    ordinal, siblings     which of the layer's instructions of this unit it is, from 1, and of how
                          many
    position              the part of its tile: pixel, weight tile, or row of a box
    stage                 the part of the unit, as far as its ports tell
    what                  the wrong write
    cycle                 when, in cycles after the start; None where the hardware is right
    expected, got         the element, when an element is wrong
    accumulator           the sum before requantisation, expected and got, where there is one
    waveform              path of the VCD file, and `window`, its first and last cycle
    segment               of the network, when operators of it are on the host; its instructions
                          are those of this segment
    """

    image: int
    index: int
    instructions: int
    instruction: str
    layer: str
    unit: str
    ordinal: int
    siblings: int
    position: str
    stage: str
    what: str
    cycle: int | None = None
    expected: int | None = None
    got: int | None = None
    accumulator: tuple[int, int] | None = None
    waveform: str | None = None
    window: tuple[int, int] | None = None
    segment: int | None = None

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        part = "" if self.segment is None else f"segment {self.segment}, "
        when = "" if self.cycle is None else f", cycle {self.cycle} after the start"
        lines = [
            f"located in unit {self.unit} ({self.stage}), {part}layer '{self.layer}', image "
            f"{self.image}{when}",
            f"  instruction {self.index} of {self.instructions}, {self.unit} instruction "
            f"{self.ordinal} of {self.siblings} in its layer:",
            f"    {self.instruction}",
            f"  at {self.position}:",
            f"    {self.what}",
        ]
        if self.expected is not None:
            lines.append(f"  element: expected {self.expected}, got {self.got}")
        if self.accumulator is not None and self.unit != "compute":
            expected, got = self.accumulator
            lines.append(f"  accumulator before requantisation: expected {expected}, got {got}")
        if self.waveform is not None and self.window is not None:
            first, last = self.window
            lines.append(
                f"  waveform: {self.waveform} (cycles {first} to {last}, cycle n at time 10 n)"
            )
        return "\n".join(lines)
