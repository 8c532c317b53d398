"""Mutation testing of the npu's RTL: writes the table in docs/mutation.md.

Yosys draws small faults in every module (a bit of a cell's port inverted, stuck, or flipped by
another bit) and puts all of them into one netlist behind the input `mutant_i`, so that Verilator
builds once.  Every mutant then runs the bench of `mutation_bench`, in a process of its own.  The
draw is seeded: the same RTL gives the same mutants.

    python -m benchmarks.mutation [--mutants N] [--modules NAME ...] [--check]
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mutation_bench import DESIGN, Bench, Verdict, score
from intaglio.hw.npu_model import DRIVER
from intaglio.hw.sources import rtl_sources
from intaglio.hw.verilator import Model, build
from intaglio.progress import Callback, bars
from intaglio.templates.npu.emit import parameters

PAGE = Path(__file__).parents[1] / "docs" / "mutation.md"
REASONS = Path(__file__).with_name("mutation_survivors.toml")
GOAL = 0.9
MUTANTS = 25
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
DRIVER_HEAD = """#include <cstdint>
#include "Vdut.h"
namespace {
uint32_t chosen_mutant = 0;
class MutatedDut : public Vdut {
 public:
  explicit MutatedDut(VerilatedContext* context) : Vdut(context) { mutant_i = chosen_mutant; }
};
}  // namespace
extern "C" void npu_choose_mutant(uint32_t mutant) { chosen_mutant = mutant; }
#define Vdut MutatedDut
"""
"""Before the text of the driver: models made from now on hold the chosen mutant, 0 for none."""
LEFT_OUT = re.compile(r"-port (CLK|clk_i) | -cell \$mem\S+ -port (EN|ARST|SRST) ")
"""Faults of a clock, which are no fault of logic, and of memory ports that Verilog cannot write."""
COLUMNS = ("module", "mutants", "killed", *(v.value for v in Verdict if v.kills), "score")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: its number in the netlist, module, and place in the source."""

    number: int
    module: str
    place: str
    command: str


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a mutant."""

    mutant: Mutant
    verdict: Verdict


def modules() -> tuple[str, ...]:
    """The modules that are mutated: every one that holds logic."""
    return tuple(path.stem for path in rtl_sources("npu") if not path.stem.endswith("_pkg"))


def draw(names: Sequence[str], count: int, folder: Path) -> tuple[Mutant, ...]:
    """`count` seeded mutants of each of `names`, all in `folder`/mutated.v."""
    design = folder / "design.il"
    chosen = " ".join(f"-chparam {name} {value}" for name, value in parameters(DESIGN).items())
    files = " ".join(f'"{path.resolve()}"' for path in rtl_sources("npu"))
    lists = {name: folder / f"{name}.txt" for name in names}
    _yosys(
        folder,
        f"read_verilog -sv {files}",
        f"hierarchy -check -top npu_top {chosen}",
        *("proc", "opt -nodffe -nosdff -noff", "wreduce", "opt_clean"),
        f"write_rtlil {design}",
        *(
            f"mutate -list {2 * count} -seed {SEED} -o {path} A:src=*{name}.sv:*"
            for name, path in lists.items()
        ),
    )
    found = [(name, line) for name in names for line in _legal(lists[name])[:count]]
    mutants = tuple(
        Mutant(number, name, _place(line), line) for number, (name, line) in enumerate(found, 1)
    )
    _yosys(
        folder,
        f"read_rtlil {design}",
        *(
            m.command.replace("mutate", f"mutate -ctrl mutant_i {SELECT_BITS} {m.number}", 1)
            for m in mutants
        ),
        f"write_verilog -noattr {folder / 'mutated.v'}",
    )
    return mutants


def _legal(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not LEFT_OUT.search(line)]


def _yosys(folder: Path, *passes: str) -> None:
    script = folder / "passes.txt"
    script.write_text("".join(f"{one}\n" for one in passes))
    command = [sys.executable, "-c", RUN, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"Yosys failed: {(done.stdout + done.stderr)[-500:]}")


def _place(command: str) -> str:
    """File, line, cell, bit and kind of a mutation, without the numbers that Yosys made up."""
    words = command.split()
    options = dict(zip(words, words[1:], strict=False))
    sources = [value for key, value in zip(words, words[1:], strict=False) if key == "-src"]
    line = re.sub(r"^.*/([^/]+:\d+)\..*$", r"\1", sources[-1]) if sources else "?"
    cell = re.sub(r"^(\$[a-z_]+)\$.*$", r"\1", options["-cell"])
    wire = f" of {options['-wire']}[{options['-wirebit']}]" if "-wire" in options else ""
    other = f" by bit {options['-ctrlbit']}" if "-ctrlbit" in options else ""
    return (
        f"{line} {cell}.{options['-port']}[{options['-portbit']}]{wire} {options['-mode']}{other}"
    )


def build_mutated(folder: Path, cache: Path | None, progress: Callback) -> Path:
    """The shared library of `folder`/mutated.v and the driver."""
    main = next(path for path in DRIVER if path.suffix == ".cpp")
    driver = folder / "mutated_driver.cpp"
    driver.write_text(DRIVER_HEAD + main.read_text())
    headers = tuple(path for path in DRIVER if path.suffix == ".h")
    model = Model((folder / "mutated.v",), "npu_top", (driver, *headers))
    return build(model, cache=cache, progress=progress)


def measure(
    names: Sequence[str], count: int, *, cache: Path | None, progress: Callback
) -> tuple[Result, ...]:
    """The verdicts of `count` mutants of each of `names`."""
    with tempfile.TemporaryDirectory() as folder:
        progress("draw mutants", 0, 1)
        mutants = draw(names, count, Path(folder))
        library = build_mutated(Path(folder), cache, progress)
        verdicts = score(Bench.of(library), [m.number for m in mutants], progress)
    return tuple(Result(m, v) for m, v in zip(mutants, verdicts, strict=True))


def reasons() -> dict[str, dict[str, str]]:
    """Why mutants survive: module -> how their places begin -> a phrase."""
    return tomllib.loads(REASONS.read_text(encoding="utf-8"))


def reason(mutant: Mutant) -> str:
    """The phrase for `mutant`, of the longest beginning that fits."""
    known = reasons().get(mutant.module, {})
    fitting = [start for start in known if mutant.place.startswith(start)]
    return known[max(fitting, key=len)] if fitting else "**unexplained**"


def row(name: str, results: Sequence[Result]) -> str:
    """One row of the table."""
    killed = sum(r.verdict.kills for r in results)
    kinds = [str(sum(r.verdict is v for r in results)) for v in Verdict if v.kills]
    cells = (name, str(len(results)), str(killed), *kinds, f"{killed / max(len(results), 1):.0%}")
    return f"| {' | '.join(cells)} |"


def table(results: Sequence[Result]) -> list[str]:
    """The table of modules, and the sum."""
    names = list(dict.fromkeys(r.mutant.module for r in results))
    rows = [row(name, [r for r in results if r.mutant.module == name]) for name in names]
    head = f"| {' | '.join(COLUMNS)} |"
    return [head, "|---" * len(COLUMNS) + "|", *rows, row("all", results)]


def survivors(results: Sequence[Result]) -> list[str]:
    """Every mutant that lives, and why."""
    return [
        f"| {r.mutant.module} | `{r.mutant.place}` | {reason(r.mutant)} |"
        for r in results
        if not r.verdict.kills
    ]


def page(results: Sequence[Result]) -> str:
    """The text of docs/mutation.md."""
    return "\n".join((HEADER, *table(results), "", SURVIVORS, *survivors(results), ""))


HEADER = f"""# Mutation testing of the RTL

`make mutation` wrote this page.  In every module Yosys draws {MUTANTS} faults (seed {SEED}): one
bit of one port of one cell is inverted (`inv`), stuck (`const0`, `const1`) or flipped when another
bit is 0 or 1 (`cnot0`, `cnot1`).  All of them stand in one netlist of the whole npu
({DESIGN.rows} x {DESIGN.cols}, small buffers), an input selects one, and the bench of
`benchmarks/mutation_bench.py` runs: two networks without stalls of memory, one with random stalls,
boxes of memory copied far apart, every token counter filled past half, jobs that must fail, every
register read and written, and jobs cut short by a soft reset.  A fault is in
every instance of its module at once.  A mutant is killed when

- *words*: a word in memory is not what the integer reference computes, or something else in memory
  has changed;
- *stops*: the npu does not finish, reports an error, or breaks a rule of AXI;
- *reports*: a register, or how a job that must fail ends, is not as in the RTL without a fault;
- *time*: all words are right, but the cycle in which some layer ends is not that of the RTL without
  a fault.

The first that applies is counted.  The goal is {GOAL:.0%} for every module.
"""
SURVIVORS = """## Survivors

The phrases are judgements by reading the source, not proofs; nothing is taken out of the score.

| module | fault | why it lives |
|---|---|---|"""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Mutation testing of the npu's RTL.")
    parser.add_argument("--mutants", type=int, default=MUTANTS, help="mutants of each module")
    parser.add_argument("--modules", nargs="+", choices=modules(), default=modules())
    parser.add_argument("--check", action="store_true", help="print, and leave the page alone")
    return parser.parse_args()


def main() -> int:
    """Measure, write or print the page; 1 when the goal is missed."""
    chosen = arguments()
    with bars() as progress:
        results = measure(chosen.modules, chosen.mutants, cache=None, progress=progress)
    text = page(results)
    if chosen.check:
        sys.stdout.write(text)
    else:
        PAGE.write_text(text, encoding="utf-8")
        sys.stdout.write("\n".join(table(results)) + "\n")
    return int(sum(r.verdict.kills for r in results) < GOAL * len(results))


if __name__ == "__main__":
    raise SystemExit(main())
