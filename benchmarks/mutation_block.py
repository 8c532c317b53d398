"""The second witness of a mutant: the cocotb tests of its module alone.

A module of the mutated netlist stands inside a shell with the header of its source, so the tests
find the parameters and ports they know; the plusarg `mutant` selects the fault.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mutation_draw import SELECT_BITS, Mutant, Netlist
from intaglio.errors import VerificationError
from intaglio.hw.sources import rtl_sources
from intaglio.progress import Callback
from tests.rtl.cocotb_runner import Block, Outcome, run_block

SHELL = "mutated_block"
SECONDS = 120
WORKERS = 2
BODY = """
  logic [{bits}-1:0] mutant;
  initial if ($value$plusargs("mutant=%d", mutant) == 0) mutant = '0;

  \\{module} u_mutated (.*, .mutant_i(mutant));
endmodule
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """A module of the netlist in its shell, ready for its tests."""

    block: Block
    sources: tuple[Path, ...]

    def outcome(self, mutant: int, *, failures: int) -> Outcome:
        """What the tests say with the fault `mutant`, 0 for none."""
        with tempfile.TemporaryDirectory() as work:
            return run_block(
                self.block, Path(work), self.sources, failures=failures,
                plusargs=(f"+mutant={mutant}",), seconds=SECONDS,
            )  # fmt: skip

    def passes(self, mutant: int) -> bool:
        """Whether every test passes with the fault `mutant`; a test that never ends does not."""
        outcome = self.outcome(mutant, failures=1)
        return bool(outcome.passed) and not outcome.failed


def subject(netlist: Netlist, module: str, cell_module: str, folder: Path) -> Subject:
    """`cell_module` of the netlist, which is `module` with parameters, in its shell."""
    package, *sources = rtl_sources("npu")
    source = next(path for path in sources if path.stem == module).read_text(encoding="utf-8")
    header = source[source.index(f"module {module}") : source.index("\n);\n") + len("\n);\n")]
    shell, cells = folder / f"{SHELL}.sv", folder / "cells.v"
    body = BODY.format(bits=SELECT_BITS, module=cell_module.removeprefix("\\") + " ")
    shell.write_text(header.replace(f"module {module}", f"module {SHELL}", 1) + body)
    cells.write_text(_closure(netlist.mutated.read_text(), cell_module.removeprefix("\\")))
    parameters = tuple(netlist.parameters(cell_module).items())
    return Subject(Block(module, parameters, top=SHELL), (package, cells, shell))


def _closure(netlist: str, top: str) -> str:
    """The text of module `top` and of all modules below it."""
    texts = re.findall(r"^module .*?^endmodule$", netlist, re.MULTILINE | re.DOTALL)
    by_name = {_name(text): text for text in texts}
    found, open_names = dict[str, str](), [top]
    while open_names:
        name = open_names.pop()
        if name in found:
            continue
        found[name] = by_name[name]
        instances = re.findall(r"^  \\?(\S+) +\\?\S+ +\($", by_name[name], re.MULTILINE)
        open_names += [instance for instance in instances if instance in by_name]
    return "\n".join(found[name] for name in sorted(found))


def _name(text: str) -> str:
    return text.removeprefix("module ").split("(", 1)[0].strip().removeprefix("\\")


def survivors_of_blocks(
    netlist: Netlist, mutants: Sequence[Mutant], progress: Callback
) -> set[int]:
    """The numbers of those of `mutants` that their module's tests do not find either.

    Raises VerificationError when a module fails without a mutant.
    """
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(WORKERS) as pool:
        names = dict.fromkeys((m.module, m.cell_module) for m in mutants)
        subjects = _subjects(netlist, tuple(names), Path(folder), pool, progress)
        trials = {pool.submit(subjects[m.cell_module].passes, m.number): m.number for m in mutants}
        alive = set[int]()
        for done, trial in enumerate(as_completed(trials), 1):
            if trial.result():
                alive.add(trials[trial])
            progress("run block tests", done, len(trials))
    return alive


def _subjects(
    netlist: Netlist,
    names: Sequence[tuple[str, str]],
    folder: Path,
    pool: ThreadPoolExecutor,
    progress: Callback,
) -> Mapping[str, Subject]:
    subjects = {}
    for index, (module, cell_module) in enumerate(names):
        own = folder / str(index)
        own.mkdir()
        subjects[cell_module] = subject(netlist, module, cell_module, own)
    trials = {pool.submit(one.outcome, 0, failures=0): one for one in subjects.values()}
    for done, trial in enumerate(as_completed(trials), 1):
        outcome = trial.result()
        if outcome.failed or not outcome.passed:
            raise VerificationError(
                f"the tests of {trials[trial].block} fail without a mutant; "
                f"run the tests of the RTL first: {outcome.log}"
            )
        progress("build blocks", done, len(trials))
    return subjects
