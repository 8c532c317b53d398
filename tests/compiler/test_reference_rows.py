"""Softmax and norms in the reference: the definitions of numerics, image by image."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from intaglio.compiler import numerics, reference
from intaglio.compiler.serialise import describe, load_workload, save_workload
from intaglio.compiler.workload import (
    ElementType,
    Norm,
    Requantise,
    Shape,
    Softmax,
    Tensor,
    Workload,
)

I16 = ElementType(16)
MASK = ElementType(1, "unsigned")
IMAGES = 3


def softmax_workload(masked: bool) -> Workload:
    chosen = numerics.choose_softmax("p", 0.001, 7)
    tensors = {
        "x": Tensor("x", (1, 2, 5, 7), I16, 0.001),
        "kept": Tensor("kept", (1, 1, 1, 7), MASK),
        "y": Tensor("y", (1, 2, 5, 7), ElementType(8, "unsigned"), numerics.softmax_scale(8)),
    }
    op = Softmax("p", "x", "y", chosen.multiplier, chosen.shift, "kept" if masked else None)
    inputs = ("x", "kept") if masked else ("x",)
    return Workload("rows", inputs, ("y",), (op,), tensors)


def draw(shape: Shape, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-32768, 32768, (IMAGES, *shape[1:]))


@pytest.mark.parametrize("masked", [False, True])
def test_softmax_is_its_definition_under_the_mask_of_each_image(masked: bool) -> None:
    workload = softmax_workload(masked)
    [op] = workload.ops
    assert isinstance(op, Softmax)
    x = draw((1, 2, 5, 7))
    kept = np.random.default_rng(1).integers(0, 2, (IMAGES, 1, 1, 7))
    kept[2] = 0
    given = {"x": x, "kept": kept} if masked else {"x": x}
    made = reference.run(workload, given)["y"]
    for image in range(IMAGES):
        mask = kept[image] if masked else None
        wanted = numerics.softmax(x[image], op.multiplier, op.shift, mask=mask)
        assert np.array_equal(made[image], wanted)
    assert made[:2].any()
    assert made[2].any() != masked, "a row that is masked whole is zero"


def norm_workload(kind: Literal["layer", "rms", "group"], shape: Shape, groups: int) -> Workload:
    width = shape[1] if kind == "group" else shape[-1]
    count = int(np.prod(shape[1:])) // groups if kind == "group" else width
    random = np.random.default_rng(2)
    gamma, beta = random.normal(size=width), random.normal(size=width)
    chosen = numerics.choose_norm("n", 0.01, I16, count, 1e-5, gamma, beta, 0.02)
    tensors = {"x": Tensor("x", shape, I16, 0.01), "y": Tensor("y", shape, ElementType(8), 0.02)}
    arrays = {"n.m": chosen.multiplier, "n.s": chosen.shift, "n.b": chosen.bias}
    types = numerics.NORM_MULTIPLIER, numerics.SHIFT, numerics.BIAS
    for (name, array), element in zip(arrays.items(), types, strict=True):
        tensors[name] = Tensor(name, array.shape, element)
    epilogue = Requantise("n.m", "n.s", "n.b", -128, 127)
    op = Norm("n", kind, "x", "y", chosen.epsilon, chosen.fraction, epilogue, groups)
    return Workload("rows", ("x",), ("y",), (op,), tensors, arrays)


CASES: list[tuple[Literal["layer", "rms", "group"], Shape, int]] = [
    ("layer", (1, 5, 12), 1),
    ("layer", (1, 2, 3, 12), 1),
    ("rms", (1, 12), 1),
    ("group", (1, 12, 4, 3), 3),
]


@pytest.mark.parametrize(("kind", "shape", "groups"), CASES)
def test_norms_are_their_definitions(
    kind: Literal["layer", "rms", "group"], shape: Shape, groups: int
) -> None:
    workload = norm_workload(kind, shape, groups)
    [op] = workload.ops
    assert isinstance(op, Norm)
    x = draw(shape)
    made = reference.run(workload, {"x": x})["y"]
    m, s, b = (workload.constants[name] for name in ("n.m", "n.s", "n.b"))
    assert (m < 0).any(), "a negative gamma has a negative multiplier"
    numbers = op.epsilon, op.fraction, m, s, b, -128, 127
    for image in range(IMAGES):
        one = x[image : image + 1]
        if kind == "group":
            wanted = numerics.group_norm(one, groups, *numbers)
        else:
            wanted = numerics.normalise(one, (-1,), *numbers, centred=kind == "layer")
        assert np.array_equal(made[image : image + 1], wanted)


@pytest.mark.parametrize(
    ("workload", "text"),
    [
        (softmax_workload(True), "y: 1x2x5x7 u8 scale 0.00392157 = softmax(x, kept) m "),
        (norm_workload("layer", (1, 5, 12), 1), "y: 1x5x12 i8 scale 0.02 = layer_norm(x) epsilon "),
        (norm_workload("group", (1, 12, 4, 3), 3), "= group_norm(x) groups 3 epsilon "),
    ],
)
def test_they_print_and_round_trip(workload: Workload, text: str, tmp_path: Path) -> None:
    save_workload(workload, tmp_path)
    assert load_workload(tmp_path).ops == workload.ops
    assert text in describe(workload)
