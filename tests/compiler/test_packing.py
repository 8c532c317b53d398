"""Weights of few bits, packed and unpacked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from intaglio.compiler.numerics import values_of
from intaglio.compiler.packing import pack, packs, unpack, weight_bits
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.precision import Bits, Precision
from intaglio.compiler.serialise import describe, load_workload, save_workload
from intaglio.compiler.tensor import BIPOLAR, ElementType
from intaglio.examples.networks import lenet5

TERNARY = ElementType(2, "ternary")


@pytest.mark.parametrize(
    "element", [BIPOLAR, TERNARY, *(ElementType(bits) for bits in range(2, 8))]
)
def test_every_value_comes_back(element: ElementType) -> None:
    random = np.random.default_rng(element.bits)
    for shape in ((3, 5, 1, 7), (1,), (4, 0)):
        values = random.choice(values_of(element).astype(np.int8), shape)
        packed = pack(values, element)
        assert packed.size == -(-values.size * element.bits // 8)
        np.testing.assert_array_equal(unpack(packed, element, shape), values)


def test_the_bytes_are_as_documented() -> None:
    values = np.array([[1, -1], [0, -1], [1, 0]], np.int8)
    assert pack(values, TERNARY).tolist() == [0b11_00_11_01, 0b00_01]
    signs = np.array([1, -1, -1, 1, 1, 1, -1, -1, 1], np.int8)
    assert pack(signs, BIPOLAR).tolist() == [0b00111001, 1]


def test_what_is_no_packed_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="2 bytes hold no 3 elements of 2 bits"):
        unpack(np.zeros(2, np.uint8), TERNARY, (3,))
    with pytest.raises(ValueError, match="a value is outside -1 to 1"):
        unpack(np.array([0b10], np.uint8), TERNARY, (1,))


def test_other_types_stay_as_they_are() -> None:
    others = (ElementType(8), ElementType(4, "unsigned"))
    assert not any(packs(element) for element in others)


def test_a_workload_keeps_its_weights_packed(tmp_path: Path) -> None:
    layers = {"conv1": Bits(8), "conv2": Bits(3), "fc3": Bits(4)}
    made = to_workload(*lenet5(), precision=Precision(2, 8, layers=layers))
    names = ("conv1", "conv2", "fc1")
    kinds = {name: str(made.tensor(f"{name}.weight").element) for name in names}
    assert kinds == {"conv1": "i8", "conv2": "i3", "fc1": "t2"}
    assert "weight 120x400 t2" in describe(made)
    _, numbers = save_workload(made, tmp_path)
    kept = load_workload(tmp_path)
    for name, array in made.constants.items():
        assert kept.constants[name].dtype == array.dtype
        np.testing.assert_array_equal(kept.constants[name], array)
    assert load_file(numbers)["fc1.weight"].shape == (120 * 400 * 2 // 8,)
    weights = {"conv1": 150, "conv2": 2400, "fc1": 48000, "fc2": 10080, "fc3": 840}
    bits = {"conv1": 8, "conv2": 3, "fc1": 2, "fc2": 2, "fc3": 4}
    assert weight_bits(made) == sum(weights[name] * bits[name] for name in weights)
    assert numbers.stat().st_size < sum(weights.values())
