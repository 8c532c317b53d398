"""Modules and functions that people use: mapped and close to PyTorch, or refused by a sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import operators
from benchmarks.operators import CASES, PAGE, Case, Outcome

QUICK = {
    "nn.BatchNorm2d without statistics",
    "nn.Conv3d of the depth alone",
    "nn.InstanceNorm2d",
    "F.cosine_similarity",
    "layer norm by std",
    "layer norm of channels",
    "nn.AdaptiveMaxPool2d(4) of 6x6",
    "nn.AvgPool2d, partial windows",
    "nn.ConstantPad2d of 0.5",
    "nn.LogSoftmax",
    "nn.MaxPool3d",
    "resize, bilinear, antialias",
    "x.amin()",
    "x.cumsum()",
    "x.unfold()",
}
"""One of each kind; the others are slow only because they are many."""


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            marks=() if case.name in QUICK or case.refusal else pytest.mark.slow,
            id=case.name,
        )
        for case in CASES
    ],
)
def test_it_is_mapped_and_close_to_pytorch_or_refused_by_its_sentence(case: Case) -> None:
    made = operators.outcome(case.name)
    assert bool(made.refusals) == bool(case.refusal)
    if case.refusal:
        refusal = made.refusals[0]
        assert refusal.line.startswith("operators.py:")
        assert str(refusal) == f"{refusal.name} ({refusal.line}): {case.refusal}"
    else:
        assert made.decibels >= case.decibels


def test_names_are_told_apart() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.name for case in CASES} >= QUICK


@pytest.mark.slow
def test_the_page_is_what_the_command_writes() -> None:
    made = operators.page((case, operators.outcome(case.name)) for case in CASES)
    assert made == PAGE.read_text()


def test_a_row_counts_operators_and_names_the_reason() -> None:
    case = Case("nn.Name", lambda x: x)
    made = Outcome(("Pool", "Conv2d", "Pool"), ("Norm",))
    assert "| nn.Name | 2 Pool, Conv2d | Norm |  |\n" in operators.page([(case, made)])
    refused = operators.outcome("x.sort()")
    assert "| nn.Name |  |  | sort has no integer form * |\n" in operators.page([(case, refused)])
    plain = replace(refused, refusals=(replace(refused.refusals[0], hostable=False),))
    assert "| nn.Name |  |  | sort has no integer form |\n" in operators.page([(case, plain)])
