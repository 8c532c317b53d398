"""`Workload`: what it refuses at construction, and its views."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.compiler.workload import (
    ElementType,
    MatMul,
    Requantise,
    Tensor,
    Workload,
    constants,
    inputs,
)
from intaglio.errors import IntaglioError

I8 = ElementType(8)
EPILOGUE = Requantise("fc.m", "fc.s", "fc.b", -128, 127, residual="x", residual_multiplier="fc.r")
FC = MatMul("fc", "x", "fc.w", "y", EPILOGUE)


def tensors() -> dict[str, Tensor]:
    shapes = {"x": (1, 4), "fc.w": (4, 4), "y": (1, 4)}
    made = {name: Tensor(name, shape, I8) for name, shape in shapes.items()}
    for name, kind in {
        "fc.m": ElementType(16, "unsigned"),
        "fc.s": ElementType(6, "unsigned"),
        "fc.b": ElementType(48),
        "fc.r": ElementType(17),
    }.items():
        made[name] = Tensor(name, (4,), kind)
    return made


def workload(**changes: object) -> Workload:
    values: dict[str, object] = {
        "name": "one",
        "inputs": ("x",),
        "outputs": ("y",),
        "ops": (FC,),
        "tensors": tensors(),
    }
    return Workload(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "lo", "hi"),
    [
        (ElementType(8), -128, 127),
        (ElementType(4, "unsigned"), 0, 15),
        (ElementType(1, "bipolar"), -1, 1),
        (ElementType(2, "ternary"), -1, 1),
    ],
)
def test_ranges_of_element_types(kind: ElementType, lo: int, hi: int) -> None:
    assert (kind.lo, kind.hi) == (lo, hi)


def test_what_an_operator_reads() -> None:
    assert inputs(FC) == ("x", "x")
    assert constants(FC) == ("fc.w", "fc.m", "fc.s", "fc.b", "fc.r")


def test_views_of_a_workload() -> None:
    made = workload()
    assert not made.emittable
    assert made.macs(FC) == 16
    assert [t.name for t in made.activations()] == ["x", "y"]
    assert list(made.graph().nodes) == ["fc"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"inputs": ()}, "fc: reads 'x' before anything makes it"),
        ({"ops": (FC, FC)}, "fc: 'y' is already made"),
        ({"outputs": ("z",)}, "workload 'one': nothing makes output 'z'"),
        ({"tensors": {}}, "fc: tensor 'x' is not declared"),
        ({"constants": {"q": np.zeros(1)}}, "constant 'q' has no tensor"),
        (
            {"constants": {"fc.m": np.zeros(3)}},
            "constant 'fc.m' has shape (3,), its tensor says (4,)",
        ),
        ({"constants": {"fc.s": np.full(4, 64)}}, "constant 'fc.s' exceeds its type u6"),
    ],
)
def test_an_inconsistent_workload_is_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(IntaglioError) as caught:
        workload(**changes)
    assert str(caught.value) == sentence


def test_an_element_type_has_limits() -> None:
    with pytest.raises(IntaglioError) as caught:
        ElementType(49)
    assert str(caught.value) == "element type of 49 bits is outside 1 to 48 bits"
