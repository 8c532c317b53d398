"""Islands: what has no integer form runs on the host, between a dequantisation and a quantisation.

PyTorch itself judges: from the integers at an island's inputs the model's own line gives what the
island gives.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from intaglio.compiler import reference
from intaglio.compiler.check import check
from intaglio.compiler.numerics import dequantise, quantise
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.serialise import describe, load_workload, save_workload
from intaglio.compiler.workload import Host, Workload
from intaglio.errors import ArtifactError, CalibrationError, UnsupportedError, VerificationError
from tests.compiler.models import Calls, images, line_of, seeded

Values = dict[str, np.ndarray]


class Ordered(nn.Module):
    """Channels in order, which only the host finds, between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x))
        y = torch.sort(y, 1).values
        return torch.relu(self.second(y))


class Boxes(nn.Module):
    """The five best of 16 boxes, decoded from the last convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.head = nn.Conv2d(8, 5, 1)
        steps = torch.arange(4.0)
        self.centres = nn.Buffer(torch.cartesian_prod(steps, steps)[None])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.head(torch.relu(self.body(x))).flatten(2).transpose(1, 2)
        middle = torch.sigmoid(y[..., :2]) + self.centres
        size = torch.exp(y[..., 2:4])
        scores, best = torch.topk(torch.sigmoid(y[..., 4]), 5)
        corners = torch.cat([middle - size / 2, middle + size / 2], -1)
        return torch.gather(corners, 1, best[..., None].expand(-1, -1, 4)), scores, best


def run(workload: Workload, *arrays: Tensor) -> Values:
    named = dict(zip(workload.inputs, (array.numpy() for array in arrays), strict=True))
    return reference.run(workload, reference.quantise_inputs(workload, named))


def islands(workload: Workload) -> list[Host]:
    return [op for op in workload.ops if isinstance(op, Host)]


@pytest.fixture(scope="module")
def ordered() -> Workload:
    return to_workload(seeded(Ordered), (images(1, 3, 8, 8),), allow_host=True)


@pytest.fixture(scope="module")
def boxes() -> Workload:
    return to_workload(seeded(Boxes), (images(1, 3, 8, 8),), allow_host=True)


def test_an_island_stands_between_two_layers(ordered: Workload) -> None:
    assert [type(op).__name__ for op in ordered.ops] == ["Conv2d", "Host", "Conv2d"]
    (island,) = islands(ordered)
    assert (island.name, island.inputs, island.outputs) == ("sort", ("first",), ("sort",))
    assert [str(call) for call in island.calls] == [
        "sort.stable(%0, stable=True, dim=1, descending=False)",
        "getitem(%1, 0)",
    ]
    assert island.source.line == line_of(Ordered.forward, "sort")
    assert str(ordered.tensor("sort").element) == "i8"


def test_values_are_quantised_at_the_cut(ordered: Workload) -> None:
    values = run(ordered, images(3, 3, 8, 8, seed=1))
    before, after = ordered.tensor("first"), ordered.tensor("sort")
    real = torch.from_numpy(dequantise(values["first"], before.scale)).float().sort(1).values
    expected = quantise(real.numpy(), after.scale, after.element)
    assert values["sort"].shape == (3, 8, 8, 8)
    np.testing.assert_array_equal(values["sort"], expected)


def test_what_follows_the_last_layer_stays_in_floating_point(boxes: Workload) -> None:
    assert [type(op).__name__ for op in boxes.ops] == ["Conv2d", "Conv2d", "Host"]
    (island,) = islands(boxes)
    assert island.inputs == ("head",)
    assert boxes.outputs == island.outputs
    kinds = [str(boxes.tensor(name).element) for name in boxes.outputs]
    assert kinds == ["f32", "f32", "i32"]


def test_results_left_as_they_are_equal_pytorch_s(boxes: Workload) -> None:
    values = run(boxes, images(2, 3, 8, 8, seed=2))
    centres, head = seeded(Boxes).get_buffer("centres"), boxes.tensor("head")
    real = torch.from_numpy(dequantise(values["head"], head.scale)).float()
    for image in range(2):
        decoded = _decode(centres, real[image : image + 1])
        for name, expected in zip(boxes.outputs, decoded, strict=True):
            np.testing.assert_allclose(values[name][image : image + 1], expected, rtol=1e-6)


def _decode(centres: Tensor, head: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The tail of `Boxes` by hand; equal scores in the order of their places."""
    y = head.flatten(2).transpose(1, 2)
    middle, size = torch.sigmoid(y[..., :2]) + centres, torch.exp(y[..., 2:4])
    scores, order = torch.sort(torch.sigmoid(y[..., 4]), stable=True, descending=True)
    corners = torch.cat([middle - size / 2, middle + size / 2], -1)
    best = order[:, :5]
    return torch.gather(corners, 1, best[..., None].expand(-1, -1, 4)), scores[:, :5], best


def test_islands_are_told_apart_by_the_layers_between_them() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        ordered = torch.sort(x, 1).values
        y = torch.cumprod(m.get_submodule("conv")(ordered) + ordered, 1)
        result: Tensor = m.get_submodule("conv")(y)
        return result

    model = seeded(lambda: Calls(forward, conv=nn.Conv2d(4, 4, 1)))
    made = to_workload(model, (images(1, 4, 4, 4),), allow_host=True)
    assert [op.name for op in made.ops] == ["sort", "conv", "cumprod", "conv_2"]
    assert made.tensor("sort").element.encoding == "signed"


def test_what_only_the_host_reads_is_not_rounded() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = torch.cumprod(x, 1)
        return torch.atan2(y, torch.cumprod(m.get_submodule("conv")(x), 1))

    model = seeded(lambda: Calls(forward, conv=nn.Conv2d(4, 4, 1)))
    made = to_workload(model, (images(1, 4, 4, 4),), allow_host=True)
    assert [type(op).__name__ for op in made.ops] == ["Conv2d", "Host"]


def test_an_island_is_kept_and_printed(ordered: Workload, boxes: Workload, tmp_path: Path) -> None:
    assert " = host(first) [sort.stable(%0, stable=True, dim=1, descending=False); " in describe(
        ordered
    )
    for name, workload in (("ordered", ordered), ("boxes", boxes)):
        folder = tmp_path / name
        folder.mkdir()
        save_workload(workload, folder)
        again = load_workload(folder)
        assert (again.ops, again.tensors) == (workload.ops, workload.tensors)
        x = images(1, 3, 8, 8, seed=3)
        for key, array in run(workload, x).items():
            np.testing.assert_array_equal(run(again, x)[key], array)


@pytest.mark.parametrize("operator", ["system.default", "__import__", "sort_.stable"])
def test_a_file_calls_nothing_but_the_operators_of_the_host(
    ordered: Workload, tmp_path: Path, operator: str
) -> None:
    save_workload(ordered, tmp_path)
    path = tmp_path / "workload.json"
    path.write_text(path.read_text().replace("sort.stable", operator))
    assert operator in json.loads(path.read_text())["workload"]["ops"][1]["calls"][0]["operator"]
    with pytest.raises(ArtifactError) as caught:
        load_workload(tmp_path)
    assert str(caught.value) == (
        f"{path}: is corrupt (ValueError: '{operator}' is no operator of the host); compile the "
        "model again"
    )


def test_check_lists_every_call_on_the_host_with_its_line_and_way_out() -> None:
    report = check(seeded(Boxes), (images(1, 3, 8, 8),), allow_host=True)
    assert report.ok
    hosted = {verdict.node: verdict for verdict in report.hosted}
    topk = hosted["topk"]
    assert (topk.line, topk.target) == (line_of(Boxes.forward, "topk"), "topk")
    assert topk.reason == "topk has no integer form"
    assert topk.way_out.startswith("replace it by supported layers, or run this part outside")
    assert hosted["exp"].reason == "is computed in float32 together with 'topk'"
    refused = check(seeded(Boxes), (images(1, 3, 8, 8),)).refused
    assert {verdict.node for verdict in refused} <= set(hosted)


Forward = Callable[[nn.Module, Tensor], Tensor]


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda m, x: x.double().sort(1).values.float(), "_to_copy has no integer form"),
        (lambda m, x: torch.erfinv(x), "erfinv has no integer form"),
        (lambda m, x: torch.argmax(x).reshape(1), "argmax has no integer form"),
    ],
)
def test_what_the_host_does_not_know_is_refused(forward: Forward, reason: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        to_workload(Calls(forward).eval(), (images(1, 4),), allow_host=True)
    assert reason in str(caught.value)
    assert "allow_host" not in str(caught.value)


def test_a_value_that_is_no_number_is_refused_at_the_cut() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        result: Tensor = m.get_submodule("fc")(torch.cumprod(x, 1))
        return result

    model = seeded(lambda: Calls(forward, fc=nn.Linear(100, 2)))
    usual = torch.ones(1, 100)
    usual[0, 0] = 3.9
    made = to_workload(model, (usual,), allow_host=True, calibration={"x": usual.numpy()})
    (island,) = islands(made)
    assert run(made, usual)[island.output].min() >= 126
    with pytest.raises(VerificationError) as caught:
        run(made, torch.full((1, 100), 3.9))
    with pytest.raises(CalibrationError) as early:
        to_workload(model, (usual,), allow_host=True, calibration={"x": 3.9 * np.ones((1, 100))})
    assert str(early.value) == (
        f"cumprod ({island.source.line}): its values are NaN or infinite on the calibration data; "
        "check the model's weights and the range of the data"
    )
    assert str(caught.value) == (
        "cumprod: 'cumprod' holds a value that is not a finite number, which has no integer; keep "
        "its operands in the function's domain"
    )


def test_an_island_of_unknown_values_has_shapes_only() -> None:
    with torch.device("meta"):
        model, example = Boxes().eval(), torch.zeros(1, 3, 8, 8)
    made = to_workload(model, (example,), allow_host=True)
    (island,) = islands(made)
    assert [made.tensor(name).shape for name in island.outputs] == [(1, 5, 4), (1, 5), (1, 5)]
    assert not made.emittable
