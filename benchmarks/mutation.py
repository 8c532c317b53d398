"""Mutation testing of the npu's RTL: writes the table in docs/mutation.md.

Yosys draws small faults in every module (a bit of a cell's port inverted, stuck, or flipped by
another bit) and puts all of them into one netlist (`mutation_draw`), so that Verilator builds
once.  Every mutant runs the bench of the whole npu (`mutation_bench`); one that lives runs the
cocotb tests of its module (`mutation_block`); one that still lives may be proven to be no fault
(`mutation_proof`).

    python -m benchmarks.mutation [--mutants N] [--modules NAME ...] [--check]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mutation_bench import Bench, Verdict, build_mutated, score
from benchmarks.mutation_block import survivors_of_blocks
from benchmarks.mutation_draw import SEED, Mutant, Netlist, draw, modules
from benchmarks.mutation_proof import equivalents
from benchmarks.mutation_tasks import DESIGN
from intaglio.progress import Callback, bars

PAGE = Path(__file__).parents[1] / "docs" / "mutation.md"
REASONS = Path(__file__).with_name("mutation_survivors.toml")
GOAL = 0.9
MUTANTS = 25
KILLS = tuple(verdict for verdict in Verdict if verdict.kills)
COLUMNS = ("module", "mutants", "equivalent", *(v.value for v in KILLS), "lives", "score")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a mutant."""

    mutant: Mutant
    verdict: Verdict


def measure(
    names: Sequence[str], count: int, *, cache: Path | None, progress: Callback
) -> tuple[Result, ...]:
    """The verdicts of `count` mutants of each of `names`."""
    with tempfile.TemporaryDirectory() as folder:
        progress("draw mutants", 0, 1)
        netlist = draw(names, count, Path(folder))
        library = build_mutated(netlist.mutated, cache, progress)
        numbers = [mutant.number for mutant in netlist.mutants]
        verdicts = score(Bench.of(library), numbers, progress)
        results = [Result(m, v) for m, v in zip(netlist.mutants, verdicts, strict=True)]
        return tuple(_second(netlist, results, progress))


def _second(netlist: Netlist, results: Sequence[Result], progress: Callback) -> list[Result]:
    """The verdicts after the blocks' tests, and then the proofs, of what the npu left alive."""
    alive = [r.mutant for r in results if r.verdict is Verdict.LIVES]
    left = survivors_of_blocks(netlist, alive, progress)
    proven = equivalents(netlist, [m for m in alive if m.number in left], progress)
    later = {m.number: Verdict.BLOCK for m in alive}
    later |= dict.fromkeys(left, Verdict.LIVES) | dict.fromkeys(proven, Verdict.EQUIVALENT)
    return [Result(r.mutant, later.get(r.mutant.number, r.verdict)) for r in results]


def reasons() -> dict[str, dict[str, str]]:
    """Why mutants survive: module -> how their places begin -> a phrase."""
    return tomllib.loads(REASONS.read_text(encoding="utf-8"))


def reason(mutant: Mutant) -> str:
    """The phrase for `mutant`, of the longest beginning that fits."""
    known = reasons().get(mutant.module, {})
    fitting = [start for start in known if mutant.place.startswith(start)]
    return known[max(fitting, key=len)] if fitting else "**unexplained**"


def killed(results: Sequence[Result]) -> float:
    """The part of the mutants that are faults, proven equivalents left out, which was killed."""
    faults = [r for r in results if r.verdict is not Verdict.EQUIVALENT]
    return sum(r.verdict.kills for r in faults) / max(len(faults), 1)


def row(name: str, results: Sequence[Result]) -> str:
    """One row of the table."""
    columns = (Verdict.EQUIVALENT, *KILLS, Verdict.LIVES)
    kinds = [str(sum(r.verdict is v for r in results)) for v in columns]
    return f"| {' | '.join((name, str(len(results)), *kinds, f'{killed(results):.0%}'))} |"


def by_module(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The results of each module."""
    names = dict.fromkeys(r.mutant.module for r in results)
    return {name: [r for r in results if r.mutant.module == name] for name in names}


def table(results: Sequence[Result]) -> list[str]:
    """The table of modules, and the sum."""
    rows = [row(name, own) for name, own in by_module(results).items()]
    head = f"| {' | '.join(COLUMNS)} |"
    return [head, "|---" * len(COLUMNS) + "|", *rows, row("all", results)]


def survivors(results: Sequence[Result]) -> list[str]:
    """Every mutant that lives, and why."""
    return [
        f"| {r.mutant.module} | `{r.mutant.place}` | {reason(r.mutant)} |"
        for r in results
        if r.verdict is Verdict.LIVES
    ]


def spared(results: Sequence[Result]) -> list[str]:
    """Every mutant that is proven to be no fault."""
    return [
        f"| {r.mutant.module} | `{r.mutant.place}` |"
        for r in results
        if r.verdict is Verdict.EQUIVALENT
    ]


def page(results: Sequence[Result]) -> str:
    """The text of docs/mutation.md."""
    parts = (HEADER, *table(results), "", SURVIVORS, *survivors(results), "")
    return "\n".join((*parts, EQUIVALENTS, *spared(results), ""))


HEADER = f"""# Mutation testing of the RTL

`make mutation` wrote this page.  In every module Yosys draws {MUTANTS} faults (seed {SEED}): one
bit of one port of one cell is inverted (`inv`), stuck (`const0`, `const1`) or flipped when another
bit is 0 or 1 (`cnot0`, `cnot1`).  The netlist is cleaned before: unused logic is gone, and what
holds a register is an enable.  All faults stand in one netlist of the whole npu
({DESIGN.rows} x {DESIGN.cols}, small buffers), and an input selects one.  A fault is in every
instance of its module that has the same parameters, at once.

First runs the bench of `benchmarks/mutation_bench.py`: three networks without stalls of memory, one
with random stalls, boxes of memory copied far apart, every token counter filled past half, jobs
that must fail, every register read and written, and jobs cut short by a soft reset.  A mutant is
killed when

- *words*: a word in memory is not what the integer reference computes, or something else in memory
  has changed;
- *stops*: the npu does not finish, reports an error, or breaks a rule of AXI;
- *reports*: a register, or how a job that must fail ends, is not as in the RTL without a fault;
- *time*: all words are right, but the cycle in which some layer ends is not that of the RTL without
  a fault.

The first that applies is counted.  A mutant that lives runs the cocotb tests of its module
(`tests/rtl`) on the module of the netlist, with the parameters that it has there; a test that fails
kills it (*block*).  What is left is, if it can be, proven *equivalent*
(`benchmarks/mutation_proof.py`): nothing that it changes reaches an output of this npu, or its
module behaves as without it from equal states on, by induction with a SAT solver.

The score is what was killed of all mutants that are not proven equivalent.  The goal is {GOAL:.0%}
for every module.
"""
SURVIVORS = """## Survivors

The phrases are judgements by reading the source, not proofs; nothing here is taken out of the
score.

| module | fault | why it lives |
|---|---|---|"""
EQUIVALENTS = """## Proven equivalent

| module | fault |
|---|---|"""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Mutation testing of the npu's RTL.")
    parser.add_argument("--mutants", type=int, default=MUTANTS, help="mutants of each module")
    parser.add_argument("--modules", nargs="+", choices=modules(), default=modules())
    parser.add_argument("--check", action="store_true", help="print, and leave the page alone")
    return parser.parse_args()


def main() -> int:
    """Measure, write or print the page; 1 when a module misses the goal."""
    chosen = arguments()
    with bars() as progress:
        results = measure(chosen.modules, chosen.mutants, cache=None, progress=progress)
    text = page(results)
    if chosen.check:
        sys.stdout.write(text)
    else:
        PAGE.write_text(text, encoding="utf-8")
        sys.stdout.write("\n".join(table(results)) + "\n")
    return int(any(killed(own) < GOAL for own in by_module(results).values()))


if __name__ == "__main__":
    raise SystemExit(main())
