"""`Searched`: what a search found and what became of its choice, as text and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from intaglio.compiler.execution import COMPUTED_BY
from intaglio.search.exploration import Exploration
from intaglio.search.study import Trial
from intaglio.sim.verify_report import VerifyReport


@dataclass(frozen=True, slots=True)
class Searched:
    """An exploration, the folder of the chosen artifact, and its proof when one was asked for."""

    found: Exploration
    artifact: Path
    proof: VerifyReport | None

    @property
    def passed(self) -> bool:
        """Whether no word of the chosen candidate's RTL differs."""
        return self.proof is None or self.proof.passed

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        found = self.found
        return {
            "strategy": found.strategy,
            "trials": found.trials,
            "feasible": found.feasible,
            "metrics": {m.name: {"unit": m.unit, "kind": m.kind} for m in found.problem.measures},
            "objectives": {o.metric: o.goal for o in found.problem.objectives},
            "limits": [str(limit) for limit in found.problem.limits],
            "front": [_trial_dict(trial) for trial in found.front],
            "hypervolume": None if found.comparison is None else asdict(found.comparison),
            "chosen": _trial_dict(found.chosen),
            "held_back_accuracy": found.held_back_accuracy,
            "computed_by": COMPUTED_BY[found.engine],
            "artifact": str(self.artifact),
            "verification": None if self.proof is None else self.proof.to_dict(),
        }

    def __str__(self) -> str:
        return "\n".join((*self._heading(), "", *self._table(), "", *self._ending()))

    def _heading(self) -> list[str]:
        found = self.found
        goals = ", ".join(f"{o.goal} {o.metric}" for o in found.problem.objectives)
        limits = " and ".join(map(str, found.problem.limits)) or "no limits"
        return [
            f"{found.strategy}: {found.trials} candidates, {found.feasible} of them within "
            f"{limits}; {goals}",
            f"front: {len(found.front)} candidates that no other dominates, the chosen one marked",
        ]

    def _table(self) -> list[str]:
        found = self.found
        chosen = [name for name, _ in found.chosen.point.values]
        measures = found.problem.measures
        rows = [
            ["", *(m.kind.value for m in measures), *("" for _ in chosen)],
            ["", *(f"{m.name}" for m in measures), *(name.partition(".")[2] for name in chosen)],
        ]
        for trial in found.front:
            mark = "*" if trial == found.chosen else ""
            numbers = [_number(trial.metrics[m.name]) for m in measures]
            rows.append([mark, *numbers, *(str(trial.point[name]) for name in chosen)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]

    def _ending(self) -> list[str]:
        found = self.found
        lines = []
        if found.comparison is not None:
            versus = found.comparison
            lines.append(
                f"hypervolume: {found.strategy} {versus.searched:.3f}, {versus.trials} random "
                f"candidates {versus.random:.3f} (shares of one box)"
            )
        lines += [
            f"chosen: {found.chosen.point}",
            f"accuracy of the chosen one, measured: {found.chosen.metrics['accuracy']:.1%} on the "
            f"images of the search, {found.held_back_accuracy:.1%} on images kept back "
            f"(computed by: {COMPUTED_BY[found.engine]})",
        ]
        if self.proof is not None:
            verdict = "all equal" if self.proof.passed else f"{self.proof.mismatches} differ"
            lines.append(
                f"its RTL: {self.proof.words_compared} words compared over {self.proof.images} "
                f"images, {verdict}; {self.proof.cycles_rtl} cycles an image measured, "
                f"{self.proof.cycles_simulated} simulated"
            )
        return lines


def _trial_dict(trial: Trial) -> dict[str, object]:
    return {
        "trial": trial.number,
        "point": trial.point.to_dict(),
        "metrics": trial.metrics.to_dict(),
    }


def _number(value: float) -> str:
    """At least three digits that count, and no exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3f}" if value < 10 else f"{value:.1f}"
