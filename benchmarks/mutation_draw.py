"""Draws mutants of the npu's RTL with Yosys, all in one netlist behind the input `mutant_i`.

The netlist is cleaned first: unused logic is gone, and what holds a register is an enable and no
multiplexer, so that a fault is one of the design and not of how it was read.  The draw is seeded:
the same RTL gives the same mutants.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mutation_tasks import DESIGN
from intaglio.hw.sources import rtl_sources
from intaglio.templates.npu.emit import parameters

SEED = 1
SELECT_BITS = 16
SECONDS = 600
RUN = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in open(sys.argv[1]):
    libyosys.run_pass(command.strip(), design)
"""
CLEAN = ("proc -norom", "opt", "wreduce", "opt", "opt_clean")
LEFT_OUT = re.compile(r"-port (CLK|clk_i) | -cell \$mem\S+ -port (EN|ARST|SRST) ")
"""Faults of a clock, which are no fault of logic, and of memory ports that Verilog cannot write."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: its number in the netlist, module, place in the source, and Yosys's command."""

    number: int
    module: str
    place: str
    command: str

    @property
    def cell_module(self) -> str:
        """The module of the netlist, `module` with the parameters of one kind of its instances."""
        return _option(self.command, "module")


@dataclass(frozen=True, slots=True)
class Netlist:
    """The cleaned design and the same with all mutants; both hold one module per parameters."""

    clean: Path
    mutated: Path
    mutants: tuple[Mutant, ...]

    def parameters(self, cell_module: str) -> dict[str, int]:
        """The parameters that `cell_module` was made with."""
        text = self.clean.read_text(encoding="utf-8")
        name = cell_module if cell_module.startswith("$") else f"\\{cell_module}"
        body = text.split(f"\nmodule {name}\n", 1)[1].split("\nmodule ", 1)[0]
        found = re.findall(r"^  parameter (?:signed )?\\(\w+) (\S+)$", body, re.MULTILINE)
        return {name: _number(constant) for name, constant in found}


def modules() -> tuple[str, ...]:
    """The modules that are mutated: every one that holds logic."""
    return tuple(path.stem for path in rtl_sources("npu") if not path.stem.endswith("_pkg"))


def draw(names: Sequence[str], count: int, folder: Path) -> Netlist:
    """`count` seeded mutants of each of `names`, all in `folder`/mutated.v."""
    clean, mutated = folder / "clean.il", folder / "mutated.v"
    chosen = " ".join(f"-chparam {name} {value}" for name, value in parameters(DESIGN).items())
    files = " ".join(f'"{path.resolve()}"' for path in rtl_sources("npu"))
    lists = {name: folder / f"{name}.txt" for name in names}
    yosys(
        folder,
        f"read_verilog -sv {files}",
        f"hierarchy -check -top npu_top {chosen}",
        *CLEAN,
        f"write_rtlil {clean}",
        *(
            f"mutate -list {2 * count} -seed {SEED} -o {path} A:src=*{name}.sv:*"
            for name, path in lists.items()
        ),
    )
    found = [(name, line) for name in names for line in _legal(lists[name])[:count]]
    mutants = tuple(
        Mutant(number, name, _place(line), line) for number, (name, line) in enumerate(found, 1)
    )
    yosys(
        folder,
        f"read_rtlil {clean}",
        *(inserted(mutant) for mutant in mutants),
        f"write_verilog -noattr {mutated}",
    )
    return Netlist(clean, mutated, mutants)


def inserted(mutant: Mutant) -> str:
    """The command that puts `mutant` behind its number at the input `mutant_i`."""
    control = f"mutate -ctrl mutant_i {SELECT_BITS} {mutant.number}"
    return mutant.command.replace("mutate", control, 1)


def yosys(folder: Path, *passes: str, seconds: int = SECONDS) -> None:
    """Runs `passes` in a process of its own; raises RuntimeError when one fails."""
    script = folder / "passes.txt"
    script.write_text("".join(f"{one}\n" for one in passes))
    command = [sys.executable, "-c", RUN, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise RuntimeError(f"Yosys failed: {(done.stdout + done.stderr)[-500:]}")


def _legal(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not LEFT_OUT.search(line)]


def _number(constant: str) -> int:
    """An integer of RTLIL: decimal, or bits."""
    return int(constant.split("'")[1], 2) if "'" in constant else int(constant)


def _option(command: str, name: str) -> str:
    words = command.split()
    return words[words.index(f"-{name}") + 1]


def _place(command: str) -> str:
    """File, line, cell, bit and kind of a mutation, without the numbers that Yosys made up."""
    words = command.split()
    options = dict(zip(words, words[1:], strict=False))
    sources = [value for key, value in zip(words, words[1:], strict=False) if key == "-src"]
    line = re.sub(r"^.*/([^/]+:\d+)\..*$", r"\1", sources[-1]) if sources else "?"
    cell = re.sub(r"^\$auto\$(\w+)\.cc.*$", r"$\1", options["-cell"])
    cell = re.sub(r"^(\$[a-z_]+)\$.*$", r"\1", cell)
    wire = f" of {options['-wire']}[{options['-wirebit']}]" if "-wire" in options else ""
    other = f" by bit {options['-ctrlbit']}" if "-ctrlbit" in options else ""
    return (
        f"{line} {cell}.{options['-port']}[{options['-portbit']}]{wire} {options['-mode']}{other}"
    )
