"""What an accelerator can run of a model: every node mapped, folded or refused, with the way out.

Scales come from a seeded image, so no calibration data and no outside tool are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from torch import Tensor, nn
from torch.export import ExportedProgram

from intaglio.compiler.capture import Captured, capture
from intaglio.compiler.graph import operation, origins, user_line
from intaglio.compiler.lower import lower
from intaglio.compiler.passes.fuse import Group, Plan
from intaglio.compiler.passes.quantize import Quantize
from intaglio.compiler.pipeline import batches, calibration_data, fuse
from intaglio.compiler.precision import Precision
from intaglio.compiler.workload import Op, Workload
from intaglio.errors import IntaglioError

Status = Literal["mapped", "folded", "refused"]
Supports = Callable[[Op, Workload], str | None]
"""Why a design cannot run an operator, as one sentence `reason; way out`; None when it can."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one captured node.

    `target` is the operator it is mapped to or folded into; `reason` and `way_out` are given when
    it is refused.
    """

    node: str
    operation: str
    status: Status
    target: str
    line: str
    reason: str = ""
    way_out: str = ""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """A verdict for every input and call of a model, in graph order."""

    model: str
    verdicts: tuple[Verdict, ...]

    @property
    def refused(self) -> tuple[Verdict, ...]:
        """The nodes that cannot be mapped."""
        return tuple(verdict for verdict in self.verdicts if verdict.status == "refused")

    @property
    def ok(self) -> bool:
        """Whether every node is mapped or folded."""
        return not self.refused

    def to_dict(self) -> dict[str, object]:
        """The report as JSON values."""
        return {
            "model": self.model,
            "ok": self.ok,
            "refused": len(self.refused),
            "nodes": [asdict(verdict) for verdict in self.verdicts],
        }

    def to_text(self) -> str:
        """One aligned line for each node, the refusals in full below, and a closing count."""
        rows = [
            (verdict.status, verdict.node, verdict.operation, verdict.target)
            for verdict in self.verdicts
        ]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        lines = ["  ".join((*map(str.ljust, row, widths), row[3])).rstrip() for row in rows]
        for verdict in self.refused:
            place = f" ({verdict.line})" if verdict.line else ""
            lines.append(f"{verdict.node}{place}: {verdict.reason}; {verdict.way_out}")
        count = f"{len(self.refused)} of {len(rows)} nodes refused"
        lines.append(f"{self.model}: {count if self.refused else f'all {len(rows)} nodes mapped'}")
        return "\n".join(lines) + "\n"


def check(
    model: nn.Module | ExportedProgram,
    example_inputs: Sequence[Tensor],
    *,
    precision: Precision | None = None,
    name: str | None = None,
    supports: Supports | None = None,
    seed: int = 0,
) -> CheckReport:
    """What becomes of every node of `model`; a refusal does not stop the check.

    `supports` may refuse operators that a design cannot run.  Raises CaptureError when there is no
    static graph to judge.
    """
    captured = capture(model, tuple(example_inputs))
    judged = [
        (node.name, "input" if node.op == "placeholder" else operation(node), user_line(node))
        for node in captured.module.graph.nodes
        if node.op in ("placeholder", "call_function")
    ]
    plan = fuse(captured)
    found = _inputs(captured)
    found.update(_refused_nodes(plan))
    found.update(_operators(captured, plan, precision or Precision(), supports, seed))
    judged += [(key, "output", "") for key in found if key not in {row[0] for row in judged}]
    verdicts = [_verdict(*row, found.get(row[0], UNREAD)) for row in judged]
    return CheckReport(name or type(model).__name__, tuple(verdicts))


@dataclass(frozen=True, slots=True)
class _Finding:
    status: Status
    target: str
    reason: str = ""
    way_out: str = ""


UNREAD = _Finding("folded", "nothing reads it")
Findings = dict[str, _Finding]


def _verdict(node: str, operation: str, line: str, found: _Finding) -> Verdict:
    return Verdict(node, operation, found.status, found.target, line, found.reason, found.way_out)


def _together(nodes: Sequence[str], first: _Finding) -> Findings:
    """The finding of a node, and `folded` for those that went into it."""
    folded = dict.fromkeys(nodes, _Finding("folded", first.target))
    return {**folded, nodes[0]: first}


def _inputs(captured: Captured) -> Findings:
    found: Findings = {}
    for node in captured.module.graph.find_nodes(op="placeholder"):
        found.update(_together(origins(node), _Finding("mapped", node.name)))
    return found


def _refused_nodes(plan: Plan) -> Findings:
    found: Findings = {}
    for refusal in plan.refusals:
        finding = _Finding("refused", refusal.name, refusal.reason, refusal.way_out)
        found.update(_together(refusal.nodes or (refusal.name,), finding))
    return found


def _operators(
    captured: Captured, plan: Plan, precision: Precision, supports: Supports | None, seed: int
) -> Findings:
    """The operators that lowering makes, and the groups that it or the design refuses."""
    found: Findings = {}
    left_out: list[Group] = []

    def refused(group: Group, error: IntaglioError) -> None:
        sentence = str(error).removeprefix(f"{group.label}: ")
        found.update(_together(group.source.nodes, _refusal(group.name, sentence)))
        left_out.append(group)

    data = batches(captured, calibration_data(captured, None, seed))
    quantised = Quantize(plan, precision)(captured.module, data, refused=refused)
    workload = lower(quantised, plan.without(left_out), "check", refused)
    for op in workload.ops:
        sentence = supports(op, workload) if supports is not None else None
        finding = _Finding("mapped", op.name) if sentence is None else _refusal(op.name, sentence)
        found.update(_together(op.source.nodes, finding))
    return found


def _refusal(target: str, sentence: str) -> _Finding:
    """A refusal from a sentence `reason; way out`."""
    reason, _, way_out = sentence.rpartition("; ")
    return _Finding("refused", target, reason, way_out)
