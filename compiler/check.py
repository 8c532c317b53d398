"""What an accelerator can run of a model: every node mapped, folded, on the host or refused.

Scales come from a seeded image, so no calibration data and no outside tool are needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node

from intaglio.compiler.capture import Captured, capture
from intaglio.compiler.graph import input_name, operation, origins, user_line
from intaglio.compiler.lower import lower
from intaglio.compiler.partition import (
    ALLOW_HOST,
    Partition,
    Supports,
    divide,
    partition,
    with_host,
)
from intaglio.compiler.passes.fuse import Group, Plan
from intaglio.compiler.passes.islands import Island
from intaglio.compiler.passes.quantize import Quantize
from intaglio.compiler.passes.quantizer import check_layers
from intaglio.compiler.pipeline import batches, calibration_data, fuse
from intaglio.compiler.precision import Precision
from intaglio.compiler.workload import Constant, Host, Op
from intaglio.errors import IntaglioError

Status = Literal["mapped", "folded", "host", "refused"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one captured node.

    `target` is the operator it is mapped to or folded into; `reason` and `way_out` are given when
    it is refused or on the host.  `macs` (multiply-accumulates) and `elements` (of its result) are
    those of the operators that it became; None where there are none, or several results.
    """

    node: str
    operation: str
    status: Status
    target: str
    line: str
    reason: str = ""
    way_out: str = ""
    macs: int | None = None
    elements: int | None = None

    def __str__(self) -> str:
        place = f" ({self.line})" if self.line else ""
        sentence = "; ".join(filter(None, (self.reason, self.way_out)))
        return f"{self.node}{place}:{self._cost() if self.status == 'host' else ''} {sentence}"

    def _cost(self) -> str:
        elements = "several results" if self.elements is None else f"{self.elements} elements"
        return f" on the host ({self.macs or 0} macs, {elements}):"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to do, and the refused nodes that it settles.

    `line` is the user's line to rewrite; it is empty when an option or the design is to change.
    """

    nodes: tuple[str, ...]
    line: str
    what: str

    def __str__(self) -> str:
        return f"{f'{self.line}: ' if self.line else ''}{self.what} ({', '.join(self.nodes)})"


@dataclass(frozen=True, slots=True)
class CheckReport:
    """A verdict for every input and call of a model, in graph order."""

    model: str
    verdicts: tuple[Verdict, ...]

    @property
    def refused(self) -> tuple[Verdict, ...]:
        """The nodes that cannot be mapped."""
        return self._with("refused")

    @property
    def hosted(self) -> tuple[Verdict, ...]:
        """The nodes that stay on the host."""
        return self._with("host")

    @property
    def changes(self) -> tuple[Change, ...]:
        """The fewest changes after which no node is refused, in graph order.

        Nodes that one line, or `allow_host`, settles together are one change.
        """
        settled: dict[tuple[str, str], list[str]] = {}
        for verdict in self.refused:
            hostable = verdict.way_out.endswith(ALLOW_HOST)
            change = ("", "add allow_host=True") if hostable else (verdict.line, verdict.way_out)
            settled.setdefault(change, []).append(verdict.node)
        return tuple(Change(tuple(nodes), *change) for change, nodes in settled.items())

    def _with(self, status: Status) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.verdicts if verdict.status == status)

    @property
    def ok(self) -> bool:
        """Whether no node is refused."""
        return not self.refused

    def to_dict(self) -> dict[str, object]:
        """The report as JSON values."""
        return {
            "model": self.model,
            "ok": self.ok,
            **{status: len(self._with(status)) for status in get_args(Status)},
            "changes": [asdict(change) for change in self.changes],
            "nodes": [asdict(verdict) for verdict in self.verdicts],
        }

    def to_text(self) -> str:
        """One aligned line for each node, the reasons in full below, and a closing count."""
        rows = [
            (verdict.status, verdict.node, verdict.operation, verdict.target)
            for verdict in self.verdicts
        ]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        lines = ["  ".join((*map(str.ljust, row, widths), row[3])).rstrip() for row in rows]
        lines += map(str, (*self.hosted, *self.refused))
        lines += self._way_out()
        lines.append(f"{self.model}: {self._count()}")
        return "\n".join(lines) + "\n"

    def _way_out(self) -> list[str]:
        """What makes the whole model fit, one numbered line for each change."""
        if not self.refused:
            return []
        several = "change" if len(self.changes) == 1 else "changes"
        numbered = (f"  {number}. {change}" for number, change in enumerate(self.changes, start=1))
        return [f"the whole model fits after {len(self.changes)} {several}:", *numbered]

    def _count(self) -> str:
        total = len(self.verdicts)
        if self.refused:
            return f"{len(self.refused)} of {total} nodes refused"
        if self.hosted:
            return f"{len(self.hosted)} of {total} nodes on the host, all others mapped"
        return f"all {total} nodes mapped"


def check(
    model: nn.Module | ExportedProgram,
    example_inputs: Sequence[Tensor],
    *,
    precision: Precision | None = None,
    name: str | None = None,
    supports: Supports | None = None,
    allow_host: bool = False,
    seed: int = 0,
) -> CheckReport:
    """What becomes of every node of `model`; a refusal does not stop the check.

    `supports` may refuse operators that a design cannot run, as a sentence `reason; way out`; with
    `allow_host` they stay on the host, as does what has no integer form, in floating point.  Raises
    CaptureError when there is no static graph to judge.
    """
    captured = capture(model, tuple(example_inputs))
    judged = [
        (node.name, "input" if node.op == "placeholder" else operation(node), user_line(node))
        for node in captured.module.graph.nodes
        if node.op in ("placeholder", "call_function")
    ]
    shown = {
        node.name: input_name(node) for node in captured.module.graph.find_nodes(op="placeholder")
    }
    elements = {node.name: _elements(node) for node in captured.module.graph.nodes}
    plan = fuse(captured, allow_host=allow_host)
    bits = precision or Precision()
    check_layers(bits, plan, captured.shapes)
    found = _inputs(captured)
    found.update(_refused_nodes(plan))
    for island in plan.islands:
        found.update(_hosted_nodes(island, elements))
    made = _partition(captured, plan, bits, supports, seed, found)
    found.update(_operators(made, allow_host))
    judged += [
        (key, _kind(key, made), "") for key in found if key not in {row[0] for row in judged}
    ]
    verdicts = [
        _verdict(shown.get(key, key), kind, line, found.get(key, UNREAD))
        for key, kind, line in judged
    ]
    return CheckReport(name or type(model).__name__, tuple(verdicts))


@dataclass(frozen=True, slots=True)
class _Finding:
    status: Status
    target: str
    reason: str = ""
    way_out: str = ""
    macs: int | None = None
    elements: int | None = None


_WORSE: dict[Status, int] = {"folded": 0, "mapped": 1, "host": 2, "refused": 3}
UNREAD = _Finding("folded", "nothing reads it")
Findings = dict[str, _Finding]


def _verdict(node: str, operation: str, line: str, found: _Finding) -> Verdict:
    return Verdict(
        node,
        operation,
        found.status,
        found.target,
        line,
        found.reason,
        found.way_out,
        found.macs,
        found.elements,
    )


def _kind(key: str, made: Partition) -> str:
    """What a key is that no node of the captured graph has."""
    constants = (op for op in made.workload.ops if isinstance(op, Constant))
    return "constant" if key in {node for op in constants for node in op.source.nodes} else "output"


def _together(nodes: Sequence[str], first: _Finding) -> Findings:
    """The finding of a node, and `folded` for those that went into it."""
    folded = dict.fromkeys(nodes, _Finding("folded", first.target))
    return {**folded, nodes[0]: first}


def _inputs(captured: Captured) -> Findings:
    found: Findings = {}
    for node in captured.module.graph.find_nodes(op="placeholder"):
        finding = _Finding("mapped", input_name(node), macs=0, elements=_elements(node))
        found.update(_together(origins(node), finding))
    return found


def _refused_nodes(plan: Plan) -> Findings:
    found: Findings = {}
    for refusal in plan.refusals:
        finding = _Finding("refused", refusal.name, refusal.reason, refusal.ways_out)
        found.update(_together(refusal.nodes or (refusal.name,), finding))
    return found


def _elements(node: Node) -> int | None:
    """How many elements the value of a node has; None when it is several results."""
    value = node.meta.get("val")
    return value.numel() if isinstance(value, Tensor) else None


def _hosted_nodes(island: Island, elements: Mapping[str, int | None]) -> Findings:
    """Every node of an island, with its own reason, or with that of the island that it joined."""
    joined = f"is computed in float32 together with '{island.name}'"
    found: Findings = {
        node: _Finding("host", island.name, joined, macs=0, elements=elements.get(node))
        for node in island.source.nodes
    }
    for refusal in island.refusals:
        for node in refusal.nodes:
            reasons = refusal.reason, refusal.way_out
            found[node] = replace(found[node], reason=reasons[0], way_out=reasons[1])
    first = island.source.nodes[0]
    found[first] = replace(found[first], macs=island.macs)
    return found


def _partition(
    captured: Captured,
    plan: Plan,
    precision: Precision,
    supports: Supports | None,
    seed: int,
    found: Findings,
) -> Partition:
    """The operators that lowering makes, divided; groups that it refuses are added to `found`."""
    left_out: list[Group] = []

    def refused(group: Group, error: IntaglioError) -> None:
        sentence = str(error).removeprefix(f"{group.label}: ")
        found.update(_together(group.source.nodes, _refusal(group.name, sentence)))
        left_out.append(group)

    data = batches(captured, calibration_data(captured, None, seed))
    quantised = Quantize(plan, precision)(captured.module, data, refused=refused)
    workload = lower(quantised, plan.without(left_out), "check", refused)
    return partition(workload, ()) if supports is None else divide(workload, supports)


def _operators(made: Partition, allow_host: bool) -> Findings:
    """What becomes of every operator; of a node that became several, the worst is told.

    What those of the worst status cost is added up.
    """
    found: Findings = {}
    for op in (op for op in made.workload.ops if not isinstance(op, Host)):
        finding, nodes = _operator(op, made, allow_host), op.source.nodes
        before = found.get(nodes[0])
        if before is None or _WORSE[finding.status] > _WORSE[before.status]:
            found.update(_together(nodes, finding))
        elif finding.status == before.status:
            macs = (before.macs or 0) + (finding.macs or 0)
            found[nodes[0]] = replace(before, macs=macs, elements=finding.elements)
    return found


def _operator(op: Op, made: Partition, allow_host: bool) -> _Finding:
    """The finding of an operator: what the accelerator cannot run is on the host or refused."""
    if allow_host and op in made.hosted:
        finding = replace(_refusal(op.name, made.reason(op)), status="host")
    elif op.name in made.reasons:
        finding = _refusal(op.name, with_host(made.reason(op)))
    else:
        finding = _Finding("mapped", op.name)
    macs, elements = made.workload.macs(op), made.workload.tensor(op.output).elements
    return replace(finding, macs=macs, elements=elements)


def _refusal(target: str, sentence: str) -> _Finding:
    """A refusal from a sentence `reason; way out`."""
    reason, _, way_out = sentence.partition("; ")
    return _Finding("refused", target, reason, way_out)
