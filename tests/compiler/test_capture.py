"""Capture: static graphs come out whole, anything else is refused with the user's line."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn

from intaglio.compiler.capture import capture
from intaglio.errors import CaptureError
from tests.compiler.models import EveryOperator, Residual, calls, images, line_of, seeded


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x + x
        return x - x


class DataSized(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.nonzero(x) * 2


class Mismatched(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x @ torch.ones(7, 7)


class Printing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        sys.stdout.write("a word of the model's own")
        return torch.from_numpy(x.numpy() * 2)


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(7, 2))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(x)
        return scores


class Unused(nn.Module):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return torch.relu(x)


class Doubling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + x


@pytest.mark.parametrize(
    ("model", "inputs"), [(Residual, (1, 3, 9, 8)), (EveryOperator, (1, 3, 20, 28))]
)
def test_the_graph_computes_what_the_model_does(
    model: type[nn.Module], inputs: tuple[int, ...]
) -> None:
    module, x = seeded(model), images(*inputs)
    captured = capture(module, (x,))
    torch.testing.assert_close(captured.module(x), module(x))
    assert list(captured.shapes.values()) == [inputs]


def test_inputs_keep_the_names_of_forward() -> None:
    captured = capture(seeded(EveryOperator), (images(1, 3, 20, 28),))
    assert dict(captured.shapes) == {"image": (1, 3, 20, 28)}


def test_operators_stay_whole_and_in_place_ones_are_gone() -> None:
    names = calls(capture(seeded(Residual), (images(1, 3, 8, 8),)).module)
    assert names == [
        "conv2d",
        "_native_batch_norm_legit_no_training",
        "getitem",
        "relu",
        "conv2d",
        "_native_batch_norm_legit_no_training",
        "getitem",
        "relu",
        "conv2d",
        "_native_batch_norm_legit_no_training",
        "getitem",
        "conv2d",
        "add",
        "relu",
        "clone",
        "mean",
        "linear",
    ]


def refusal(model: nn.Module, *inputs: Tensor) -> str:
    with pytest.raises(CaptureError) as caught:
        capture(model, inputs)
    return str(caught.value)


def test_a_branch_on_data_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    line = line_of(Branching.forward, "if x.sum()")
    assert refusal(Branching().eval(), images(1, 4)) == (
        f"a branch or a size depends on data at {line}; replace the branch by arithmetic such as "
        "torch.where, or move it out of the model"
    )
    assert capsys.readouterr() == ("", "")


def test_a_size_that_depends_on_data_is_refused() -> None:
    line = line_of(DataSized.forward, "nonzero")
    assert refusal(DataSized().eval(), images(1, 4)) == (
        f"'nonzero' has the shape (u0, 2), which depends on data, at {line}; keep every shape "
        "fixed, or move this line out of the model"
    )


def test_a_line_that_cannot_be_followed_is_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    line = line_of(Printing.forward, "from_numpy")
    assert refusal(Printing().eval(), images(1, 4)) == (
        f"torch.export cannot follow {line} (.numpy() is not supported for tensor subclasses); "
        "write this line with PyTorch operations on tensors of fixed shape"
    )
    assert capsys.readouterr().out == ""


def test_a_model_that_fails_by_itself_is_told_where() -> None:
    line = line_of(Mismatched.forward, "@")
    assert refusal(Mismatched().eval(), images(1, 4)) == (
        f"Mismatched fails on its own example inputs of shape (1, 4) at {line} (RuntimeError: mat1 "
        "and mat2 shapes cannot be multiplied (1x4 and 7x7)); correct the model or the shapes of "
        "its inputs"
    )


def test_a_failing_layer_is_named() -> None:
    line = line_of(Classifier.forward, "self.head(x)")
    assert refusal(Classifier().eval(), images(1, 2, 2, 2)) == (
        f"Classifier fails on its own example inputs of shape (1, 2, 2, 2) at {line}, in its "
        "Linear 'head.1' (RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x8 and 7x2)); "
        "correct the model or the shapes of its inputs"
    )


def test_no_line_of_torch_or_python_is_quoted() -> None:
    assert refusal(nn.Sequential(nn.Linear(7, 2)).eval(), images(1, 4)) == (
        "Sequential fails on its own example inputs of shape (1, 4), in its Linear '0' "
        "(RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x4 and 7x2)); correct the "
        "model or the shapes of its inputs"
    )
    assert refusal(Unused().eval(), images(1, 4)) == (
        "Unused fails on its own example inputs of shape (1, 4) (TypeError: Unused.forward() "
        "missing 1 required positional argument: 'mask'); correct the model or the shapes of its "
        "inputs"
    )


def test_training_mode_is_refused() -> None:
    assert refusal(Doubling(), images(1, 4)) == (
        "Doubling is in training mode; call its eval() before capturing it"
    )


def test_a_batch_is_refused() -> None:
    assert refusal(Doubling().eval(), images(8, 3, 4, 4)) == (
        "input 'x' has shape (8, 3, 4, 4); give example inputs of batch 1, as in (1, channels, "
        "height, width) (calibration data may hold many images)"
    )


def test_inputs_are_real_or_indices() -> None:
    assert refusal(Doubling().eval(), torch.zeros(1, 4, dtype=torch.float64)) == (
        "input 'x' holds torch.float64; give float32, or int64 for indices such as token ids"
    )


def test_the_examples_of_integer_inputs_are_kept() -> None:
    ids = torch.tensor([[3, 1, 2]])
    [kept] = capture(nn.Embedding(4, 2).eval(), (ids,)).integers.values()
    assert kept.equal(ids)


def test_an_unused_input_is_refused() -> None:
    assert refusal(Unused().eval(), images(1, 4), images(1, 4)) == (
        "input 'mask' is never used; remove it from forward()"
    )


def test_a_program_with_a_dynamic_shape_is_refused() -> None:
    batch = torch.export.Dim("batch", min=1, max=8)
    program = torch.export.export(
        Doubling().eval(), (images(2, 4),), dynamic_shapes={"x": {0: batch}}
    )
    with pytest.raises(CaptureError) as caught:
        capture(program, ())
    assert str(caught.value) == (
        "input 'x' has the dynamic shape (s77, 4); export the model with fixed shapes"
    )


def test_an_exported_program_is_captured_as_it_is() -> None:
    model, x = seeded(Residual), images(1, 3, 8, 8)
    captured = capture(torch.export.export(model, (x,)), ())
    torch.testing.assert_close(captured.module(x), model(x))


def test_the_users_parameters_are_left_alone() -> None:
    model = seeded(Residual)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    capture(model, (images(1, 3, 8, 8),))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
