"""Proofs that a mutant is no fault, in two ways.

Nothing that it changes can reach an output of the npu (`Graph`).  The mutated netlist is flattened
and read as a graph of bits.  A cell passes a change of one bit of
an input to the bits of its outputs that may depend on it: bitwise cells to the same bit, sums to
that bit and those above, everything that is not known here to all.  What is reached is therefore
never too little; a mutant whose changes end before any output (reserved bits of an instruction,
bits of an address above those that a buffer has) is equivalent to the RTL without it.

Or its module gives the same outputs, and the same inputs of what it instantiates, from equal states
on and whatever comes in, by induction over the cycles (`is_locally_equal`).
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.mutation_draw import Mutant, Netlist, inserted, yosys
from intaglio.progress import Callback

WORKERS = 2
PROOF_SECONDS = 240
"""A proof that takes longer is given up: the mutant counts as a fault."""

Bit = int | tuple[str, int]
"""A net of the flattened netlist, or a bit of every word of a memory."""
Sink = tuple[str, str, int]
"""A cell, its port and the bit there."""
BITWISE = {"$not", "$pos", "$and", "$or", "$xor", "$xnor", "$mux", "$pmux"}
CARRIED = {"$add", "$sub", "$mul", "$neg"}
REGISTERS = {"$dff", "$dffe", "$sdff", "$sdffe", "$sdffce"}


@dataclass(frozen=True, slots=True)
class Graph:
    """The cells of the flattened npu, where each bit is read, its outputs, and the selection."""

    cells: dict[str, dict[str, Any]]
    sinks: dict[Bit, list[Sink]]
    outputs: frozenset[Bit]
    select: list[int]

    @classmethod
    def of(cls, netlist: Netlist, folder: Path) -> Self:
        """The graph of the netlist with all its mutants."""
        path = folder / "flat.json"
        yosys(
            folder,
            f"read_rtlil {netlist.clean}",
            *(inserted(mutant) for mutant in netlist.mutants),
            "hierarchy -top npu_top",
            "flatten",
            f"write_json {path}",
        )
        top = json.loads(path.read_text())["modules"]["npu_top"]
        sinks = defaultdict[Bit, list[Sink]](list)
        for name, cell in top["cells"].items():
            for port, bits in cell["connections"].items():
                if cell["port_directions"][port] == "input":
                    for at, bit in enumerate(bits):
                        sinks[bit].append((name, port, at))
            if cell["type"].startswith("$memrd"):
                for at in range(len(cell["connections"]["DATA"])):
                    sinks[_memory(cell), at].append((name, "", at))
        outputs = (p["bits"] for p in top["ports"].values() if p["direction"] == "output")
        reached = frozenset(bit for bits in outputs for bit in bits)
        return cls(top["cells"], dict(sinks), reached, top["ports"]["mutant_i"]["bits"])

    def is_equivalent(self, mutant: Mutant) -> bool:
        """Whether no change that `mutant` makes reaches an output."""
        reached = set(self._sources(mutant.number))
        if not reached:
            raise RuntimeError(f"mutant {mutant.number} is not in the netlist")
        waiting = list(reached)
        while waiting:
            bit = waiting.pop()
            if bit in self.outputs:
                return False
            for name, port, at in self.sinks.get(bit, ()):
                for changed in self._passed(self.cells[name], port, at):
                    if changed not in reached:
                        reached.add(changed)
                        waiting.append(changed)
        return True

    def _sources(self, number: int) -> Iterator[Bit]:
        """The bits that are high while mutant `number` is chosen: one in each instance."""
        for cell in self.cells.values():
            pins = cell["connections"]
            chosen = cell["type"] == "$eq" and pins["A"] == self.select
            if chosen and _constant(pins["B"]) == number:
                yield from pins["Y"]

    def _passed(self, cell: dict[str, Any], port: str, at: int) -> Iterator[Bit]:
        """The bits that may change when bit `at` of `port` does."""
        kind, pins = cell["type"], cell["connections"]
        if kind == "$memwr_v2":
            width = len(pins["DATA"])
            for index in (at,) if port in ("DATA", "EN") else range(width):
                yield _memory(cell), index
        elif kind.startswith("$memrd"):
            yield from (pins["DATA"][at],) if not port else pins["DATA"]
        elif kind in REGISTERS:
            yield from (pins["Q"][at],) if port == "D" else pins["Q"]
        elif kind in BITWISE | CARRIED and port != "S":
            out = pins["Y"]
            at %= len(out)
            highest = at == len(pins[port]) - 1
            yield from out[at:] if kind in CARRIED or highest else out[at : at + 1]
        else:
            for name, bits in pins.items():
                if cell["port_directions"][name] == "output":
                    yield from bits


def _memory(cell: dict[str, Any]) -> str:
    return str(cell["parameters"]["MEMID"])


def _constant(bits: list[int | str]) -> int | None:
    if any(isinstance(bit, int) or bit not in "01" for bit in bits):
        return None
    return sum((bit == "1") << at for at, bit in enumerate(bits))


def is_locally_equal(netlist: Netlist, mutant: Mutant) -> bool:
    """Whether the module of `mutant` is proven to behave as without it."""
    command = mutant.command.replace(f"-module {mutant.cell_module}", "-module gate", 1)
    passes = (
        f"read_rtlil {netlist.clean}",
        *(f"copy {mutant.cell_module} {name}" for name in ("gold", "gate")),
        command,
        "memory_map gold gate",
        "expose -evert gold gate",
        "opt_clean gold gate",
        "equiv_make gold gate equal",
        "hierarchy -top equal",
        "equiv_simple -seq 2 equal",
        "equiv_induct -seq 4 equal",
        "equiv_status -assert equal",
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            yosys(Path(folder), *passes, seconds=PROOF_SECONDS)
    except (RuntimeError, subprocess.TimeoutExpired):
        return False
    return True


def equivalents(netlist: Netlist, mutants: Sequence[Mutant], progress: Callback) -> set[int]:
    """The numbers of those of `mutants` that are proven to be no faults."""
    found = set[int]()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(WORKERS) as pool:
        graph = Graph.of(netlist, Path(folder))

        def proven(mutant: Mutant) -> bool:
            return graph.is_equivalent(mutant) or is_locally_equal(netlist, mutant)

        for done, (mutant, is_proven) in enumerate(
            zip(mutants, pool.map(proven, mutants), strict=True), 1
        ):
            if is_proven:
                found.add(mutant.number)
            progress("prove equivalence", done, len(mutants))
    return found
