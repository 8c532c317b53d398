"""What is proven of the RTL for all time: writes the table in docs/formal.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from intaglio.hw.formal import PROOFS, Outcome, Proof, prove

PAGE = Path(__file__).resolve().parents[1] / "docs" / "formal.md"
START, END = "<!-- proofs: made by benchmarks/formal.py -->", "<!-- end of proofs -->"
COLUMNS = (
    "block", "what holds", "sizes", "assertions", "registers", "gates", "verdict",
    "how, and how deep", "seconds of the processor, measured",
)  # fmt: skip


def row(proofs: Sequence[Proof], outcomes: Sequence[Outcome]) -> str:
    """One line of the table: one module with one or more parameters; seconds are those of all."""
    sizes = ", ".join(
        f"{name} {' to '.join(map(str, dict.fromkeys((value, proofs[-1].parameters[name]))))}"
        for name, value in proofs[0].parameters.items()
    )
    largest = max(outcomes, key=lambda outcome: outcome.gates)
    cells = (
        proofs[0].block, proofs[0].says, sizes, sum(len(done.assertions) for done in outcomes),
        largest.registers, largest.gates, ", ".join({done.verdict for done in outcomes}),
        f"{'induction' if proofs[0].induction else 'invariant'}, {largest.frames}",
        f"{sum(done.seconds for done in outcomes):.1f}",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def page(text: str, rows: Sequence[str]) -> str:
    """`text` with the table between its marks replaced."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    table = (f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS), *rows)
    return "\n".join((f"{before}{START}", "", *table, "", f"{END}{after}"))


def main() -> int:
    """Prove everything, one after the other; returns 1 unless all of it is proven."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    rows, verdicts = [], set()
    for _, group in groupby(PROOFS, key=lambda proof: proof.top):
        proofs = tuple(group)
        outcomes = [
            prove(proof.top, proof.parameters, induction=proof.induction) for proof in proofs
        ]
        verdicts |= {outcome.verdict for outcome in outcomes}
        rows.append(row(proofs, outcomes))
        print(rows[-1], flush=True)
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
    return int(verdicts != {"proven"})


if __name__ == "__main__":
    sys.exit(main())
