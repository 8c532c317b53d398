"""`check`: every node has a verdict, and refusals do not stop it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from intaglio.compiler.check import CheckReport, Verdict, check
from intaglio.compiler.workload import MatMul, Op, Pool, Workload
from tests.compiler.models import Calls, EveryOperator, Residual, images, line_of, seeded
from tests.conftest import Golden


class Mixed(nn.Module):
    """A refusal, an average without reciprocal, and layers around them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 1)
        self.drop = nn.Dropout()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(functional.relu(self.conv(torch.cumprod(x, 1))))
        y = functional.avg_pool2d(y, (53, 59))
        scores: Tensor = self.fc(y.flatten(1) * 2)
        return scores


def statuses(report: CheckReport) -> dict[str, tuple[str, str]]:
    return {verdict.node: (verdict.status, verdict.target) for verdict in report.verdicts}


def test_a_supported_model_is_mapped_or_folded_whole() -> None:
    report = check(seeded(EveryOperator), (images(1, 3, 20, 28),))
    assert report.ok
    assert statuses(report)["image"] == ("mapped", "image")
    assert {verdict.status for verdict in report.verdicts} == {"mapped", "folded"}


def test_folded_nodes_say_where_they_went() -> None:
    made = statuses(check(seeded(Residual), (images(1, 3, 8, 8),)))
    assert made["conv2d_2"] == ("mapped", "conv2")
    for node in ("_native_batch_norm_legit_no_training_2", "getitem_6", "add", "relu_2", "clone"):
        assert made[node] == ("folded", "conv2")


def test_every_refusal_is_listed() -> None:
    report = check(seeded(Mixed), (images(1, 1, 53, 59),), name="mixed")
    assert not report.ok
    assert statuses(report) == {
        "x": ("mapped", "x"),
        "cumprod": ("refused", "cumprod"),
        "conv2d": ("mapped", "conv"),
        "relu": ("folded", "conv"),
        "clone": ("folded", "conv"),
        "avg_pool2d": ("refused", "avg_pool2d"),
        "view": ("mapped", "reshape"),
        "mul": ("mapped", "mul"),
        "linear": ("mapped", "fc"),
    }
    pool = next(verdict for verdict in report.refused if verdict.node == "avg_pool2d")
    line = line_of(Mixed.forward, "avg_pool2d")
    assert pool == Verdict(
        "avg_pool2d",
        "avg_pool2d.default",
        "refused",
        "avg_pool2d",
        line,
        "an average over 3127 values has no exact 16-bit reciprocal",
        "pool in two steps of smaller windows",
    )


class Broken(nn.Module):
    """A NaN in a weight, a weight that no scale holds and an infinite bias, with layers between."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 1)
        self.third = nn.Conv2d(4, 2, 1, bias=False)
        self.fc = nn.Linear(2 * 8 * 8, 3)
        self.head = nn.Linear(3, 3)
        self.first.weight.data[1] = float("nan")
        self.third.weight.data[0], self.third.weight.data[1] = 1e9, 1e-9
        self.fc.bias.data[2] = float("inf")

    def forward(self, x: Tensor) -> Tensor:
        y = functional.max_pool2d(functional.relu(self.first(x)), 1)
        y = functional.relu(self.second(y))
        y = functional.hardtanh(self.third(y), -1e-3, 1e-3)
        scores: Tensor = self.head(functional.relu(self.fc(y.flatten(1))))
        return scores


def test_what_quantisation_refuses_is_listed_whole() -> None:
    report = check(seeded(Broken), (images(1, 3, 8, 8),))
    assert {node: status for node, (status, _) in statuses(report).items()} == {
        "x": "mapped",
        "conv2d": "refused",
        "relu": "folded",
        "max_pool2d": "mapped",
        "conv2d_1": "mapped",
        "relu_1": "folded",
        "conv2d_2": "refused",
        "hardtanh": "folded",
        "view": "mapped",
        "linear": "refused",
        "relu_2": "folded",
        "linear_1": "mapped",
    }
    first, third, last = report.refused
    for verdict, target in ((first, "first"), (last, "fc")):
        assert verdict.target == target
        assert verdict.reason == "its values are NaN or infinite on the calibration data"
        assert verdict.way_out == "check the model's weights and the range of the data"
    assert third.line == line_of(Broken.forward, "self.third")
    assert third.reason.startswith("requantisation scale ")
    assert third.way_out == "rescale the model's weights or inputs"


def test_the_text_of_a_report(golden: Golden) -> None:
    report = check(seeded(Mixed), (images(1, 1, 53, 59),), name="mixed")
    golden("check_mixed.txt", report.to_text())


def test_the_json_of_a_report() -> None:
    report = check(seeded(Mixed), (images(1, 1, 53, 59),))
    made = report.to_dict()
    assert (made["model"], made["ok"]) == ("Mixed", False)
    assert [made[status] for status in ("mapped", "folded", "host", "refused")] == [5, 2, 0, 2]
    assert made["changes"] == [
        {
            "nodes": ("cumprod",),
            "line": "",
            "what": "add allow_host=True",
        },
        {
            "nodes": ("avg_pool2d",),
            "line": line_of(Mixed.forward, "avg_pool2d"),
            "what": "pool in two steps of smaller windows",
        },
    ]
    nodes = made["nodes"]
    assert isinstance(nodes, list)
    assert nodes[1] == {
        "node": "cumprod",
        "operation": "cumprod.default",
        "status": "refused",
        "target": "cumprod",
        "line": line_of(Mixed.forward, "torch.cumprod"),
        "reason": "cumprod has no integer form",
        "way_out": "replace it by supported layers, or run this part outside the model, or add "
        "allow_host=True to run it on the host",
        "macs": None,
        "elements": None,
    }
    costs = [(node["macs"], node["elements"]) for node in nodes if node["status"] == "mapped"]
    assert costs == [(0, 53 * 59), (4 * 53 * 59, 4 * 53 * 59), (0, 4), (0, 4), (8, 2)]


def test_a_constant_is_called_one() -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kept = nn.Parameter(torch.ones(1, 4))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x.relu(), self.kept], 1)

    report = check(seeded(Joined), (images(1, 4),))
    kept = report.verdicts[-1]
    assert (kept.node, kept.operation, kept.status) == ("kept_1", "constant", "mapped")
    assert (kept.macs, kept.elements) == (0, 4)


def test_a_design_may_refuse_an_operator() -> None:
    def supports(op: Op, workload: Workload) -> str | None:
        if isinstance(op, MatMul):
            return f"{workload.tensor(op.input).elements} features are too many; use fewer"
        return None

    report = check(seeded(Residual), (images(1, 3, 8, 8),), supports=supports)
    (refused,) = report.refused
    assert (refused.node, refused.target) == ("linear", "head")
    assert refused.reason == "12 features are too many"
    assert refused.way_out == "use fewer, or add allow_host=True to run it on the host"


def test_what_a_design_refuses_may_stay_on_the_host(golden: Golden) -> None:
    def supports(op: Op, workload: Workload) -> str | None:
        return f"{op.name}: is refused; shrink it" if isinstance(op, MatMul | Pool) else None

    report = check(
        seeded(Residual), (images(1, 3, 8, 8),), supports=supports, allow_host=True, name="residual"
    )
    assert report.ok
    hosted = {verdict.target: verdict for verdict in report.hosted}
    head = hosted["head"]
    assert (head.status, head.reason, head.way_out) == ("host", "head: is refused", "shrink it")
    assert (head.macs, head.elements) == (12 * 5, 5)
    counts = report.to_dict()
    assert (counts["host"], counts["refused"]) == (len(report.hosted), 0)
    golden("check_host.txt", report.to_text())


def test_a_result_without_a_node_is_listed() -> None:
    report = check(Calls(lambda m, x: (x.relu(), None)).eval(), (images(1, 4),))
    (refused,) = report.refused
    assert (refused.node, refused.reason) == ("output", "the model returns None")


def test_what_nothing_reads_is_folded_away() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        x.tanh()
        return x.relu()

    made = statuses(check(Calls(forward).eval(), (images(1, 4),)))
    assert made["relu"] == ("mapped", "relu")
    assert made.get("tanh", ("folded", "nothing reads it")) == ("folded", "nothing reads it")


def test_a_model_of_refusals_only() -> None:
    report = check(Calls(lambda m, x: torch.cumprod(x, 1)).eval(), (images(1, 4),))
    assert [verdict.status for verdict in report.verdicts] == ["mapped", "refused"]


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cumprod(torch.softmax(self.norm(x), 1), 1)


def test_what_one_option_settles_is_one_change() -> None:
    def nothing(op: Op, workload: Workload) -> str | None:
        return f"{op.name}: the design runs no {type(op).__name__}; use another"

    report = check(seeded(Normed), (images(1, 4, 8),), supports=nothing)
    assert report.to_text().splitlines()[-3:] == [
        "the whole model fits after 1 change:",
        "  1. add allow_host=True (layer_norm, softmax, cumprod)",
        "Normed: 3 of 4 nodes refused",
    ]


def test_an_input_is_called_as_its_data_are() -> None:
    """Also where torch.fx gives its node another name, since Python has functions of these."""

    class Model(nn.Module):
        def forward(self, input: Tensor, id: Tensor) -> tuple[Tensor, ...]:
            return input.relu(), id

    report = check(Model().eval(), (images(1, 4), images(1, 4)))
    assert statuses(report) == {
        "input": ("mapped", "input"),
        "id": ("refused", "id"),
        "relu": ("mapped", "relu"),
    }
    assert str(report.refused[0]) == (
        "id: the model returns an input unchanged; return computed tensors only"
    )
