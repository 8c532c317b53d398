"""Quantisers of ONNX and QONNX files: scales, bits and integers are those of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from intaglio.errors import UnsupportedError
from intaglio.examples.networks import resnet8
from tests.compiler.onnx_import.graphs import Array, exported, model, node
from tests.compiler.onnx_import.quantised import Pairs, Writer, differences, integers

RANDOM = np.random.default_rng(3)


def images(*size: int) -> Array:
    values: Array = RANDOM.uniform(-1, 1, size)
    return values.astype(np.float32)


def tfc(weight_bits: int, powers: bool) -> tuple[Writer, dict[str, str]]:
    """FINN's fully connected network: 2-bit activations, batch normalisation unless `powers`."""
    writer, values = Writer(1), {}
    x = writer.quantise("x", 8, 1 / 128)
    widths = (784, 64, 64, 10)
    for index, (before, after) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        scale = 1 / 16 if powers else RANDOM.uniform(0.05, 0.08, (1, after))
        weight = writer.weight(f"w{index}", (before, after), weight_bits, scale)
        x = writer.layer("MatMul", f"{x} {weight}", f"fc{index}")
        if not powers:
            x = writer.norm(x, f"norm{index}", after)
        x = writer.quantise(x, 2 if after > 10 else 8, 0.5 if powers else 0.37, narrow=1)
        values[f"fc{index}"] = x
    return writer, values


@pytest.mark.parametrize("bits", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_perceptron_of_powers_of_two_is_the_very_same_integers(bits: int, tmp_path: Path) -> None:
    writer, values = tfc(bits, powers=True)
    proto = writer.model({"x": (1, 784)}, values["fc2"])
    workload = integers(proto, tmp_path / "tfc.onnx")
    assert str(workload.tensor("x").element) == "i8"
    assert str(workload.tensor("fc0").element) == "i2"
    assert str(workload.tensor("fc0.weight").element) == ("b1" if bits == 1 else "i2")
    stored = workload.constants["fc0.weight"].T
    given = writer.constants["w0"] * 16
    wanted = np.where(given >= 0, 1, -1) if bits == 1 else np.clip(np.round(given), -1, 1)
    assert np.array_equal(stored, wanted)
    made = differences(proto, workload, writer.scales, values, images(1, 784))
    assert not made.any()


def test_a_perceptron_of_any_scales_differs_by_a_step_at_most(tmp_path: Path) -> None:
    writer, values = tfc(2, powers=False)
    proto = writer.model({"x": (1, 784)}, values["fc2"])
    workload = integers(proto, tmp_path / "tfc.onnx")
    made = differences(proto, workload, writer.scales, values, images(1, 784))
    assert np.abs(made).max() <= 1
    assert np.count_nonzero(made) <= 0.01 * made.size


def cnv() -> tuple[Writer, dict[str, str]]:
    """Convolutions with weights and activations of 4 bits, as FINN's CNV, down to an average."""
    writer, values = Writer(2), {}
    x = writer.quantise("x", 8, 1 / 128)
    for index, (before, after) in enumerate(((3, 16), (16, 16), (16, 32))):
        scale = RANDOM.choice([1 / 16, 1 / 32], (after, 1, 1, 1))
        weight = writer.weight(f"w{index}", (after, before, 3, 3), 4, scale)
        x = writer.layer("Conv", f"{x} {weight}", f"conv{index}")
        x = writer.layer("Relu", x, f"relu{index}")
        if index == 1:
            x = writer.layer("MaxPool", x, "pool", kernel_shape=[2, 2], strides=[2, 2])
        x = writer.quantise(x, 4, 0.125, signed=0)
        values["pool" if index == 1 else f"conv{index}"] = x
    x = writer.layer("AveragePool", x, "mean", kernel_shape=[4, 4])
    x = writer.layer("Flatten", x, "flat")
    values["flat"] = writer.quantise("flat", 8, 1 / 64)
    return writer, values


def test_convolutions_of_powers_of_two_are_the_very_same_integers(tmp_path: Path) -> None:
    writer, values = cnv()
    proto = writer.model({"x": (1, 3, 16, 16)}, "flat_q")
    workload = integers(proto, tmp_path / "cnv.onnx")
    assert [str(workload.tensor(name).element) for name in ("conv0", "pool", "flat")] == [
        "u4", "u4", "i8",
    ]  # fmt: skip
    made = differences(proto, workload, writer.scales, values, images(4, 3, 16, 16))
    assert not made.any()


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelProto, Array]:
    """ResNet-8 of real numbers as a file, and an image."""
    module, (x,) = resnet8()
    path = exported(module, x, tmp_path_factory.mktemp("real") / "real.onnx", 17)
    return onnx.load(path), x.numpy()


@pytest.mark.parametrize("powers", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_residual_network_in_pairs_keeps_its_integers(
    powers: bool, residual: tuple[ModelProto, Array], tmp_path: Path
) -> None:
    """Identical integers for powers of two; for any scales a step where a value is near a tie."""
    real, x = residual
    pairs = Pairs(real, x, powers)
    proto = model(pairs.made, {"x": x.shape}, pairs.stored, [pairs.output], opset=21)
    workload = integers(proto, tmp_path / "net.onnx")
    given = [value for value in pairs.stored.values() if value.dtype == np.int8 and value.ndim]
    weights = [value for name, value in workload.constants.items() if name.endswith(".weight")]
    assert all(np.array_equal(*both) for both in zip(given, weights, strict=True))
    tensors = [op.output for op in workload.ops if op.name != "Flatten"]
    file = [v for v in pairs.scales if v not in ("x_q", "/Flatten_output_0")]
    values = dict(zip(tensors, file, strict=True))
    made = differences(proto, workload, pairs.scales, values, images(*x.shape))
    assert np.abs(made).max() <= (0 if powers else 1)
    assert np.count_nonzero(made) <= 0.001 * made.size


def refused(writer: Writer, folder: Path, output: str = "y") -> str:
    with pytest.raises(UnsupportedError) as caught:
        integers(writer.model({"x": (1, 4)}, output), folder / "net.onnx")
    return str(caught.value)


@pytest.mark.parametrize(
    ("bits", "zero", "how", "sentence"),
    [
        (16, 0, {}, "its integers -32768 to 32767 with zero point 0 need 16 bits without one, at "
         "most 8 bits with zero point 0 are mapped; quantise to at most 8 bits"),
        (8, 3, {}, "its integers -128 to 127 with zero point 3 need 9 bits without one, at most 8 "
         "bits with zero point 0 are mapped; quantise symmetrically, with zero point 0"),
        (4.5, 0, {}, "its number of bits is [4.5]; give it one whole number of bits"),
        (1, 0, {}, "it quantises to 1 bits; give it a whole number of bits, two or more where "
         "there is a sign"),
        (4, 0, {"rounding_mode": "FLOOR"}, "its rounding mode FLOOR is not that of the integers; "
         "round to the nearest"),
    ],
)  # fmt: skip
def test_what_has_no_integers_is_refused(
    bits: float, zero: int, how: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    writer = Writer(0)
    writer.quantise("x", 4, 0.25, **how)
    writer.constant("bits4", bits)
    writer.constant("zero", zero)
    writer.layer("Relu", "x_q", "y")
    assert refused(writer, tmp_path) == f"x_q (net.onnx:1: Quant(x, x_s, zero, bits4)): {sentence}"


def test_scales_that_no_integers_have_are_refused(tmp_path: Path) -> None:
    writer = Writer(0)
    writer.quantise("x", 4, 0.25)
    writer.constant("x_s", [0.25, 0.5, 0.25, 1.0])
    writer.layer("Relu", "x_q", "y")
    assert refused(writer, tmp_path) == (
        "x_q (net.onnx:1: Quant(x, x_s, zero, bits4)): it gives its activations 4 scales; quantise "
        "activations with one scale"
    )
    writer.constant("x_s", -0.25)
    assert refused(writer, tmp_path) == (
        "x_q (net.onnx:1: Quant(x, x_s, zero, bits4)): its scale is -0.25; give it a positive scale"
    )
    writer = Writer(0)
    weight = writer.weight("w", (4, 3), 4, np.array([[0.1], [0.2], [0.3], [0.4]]))
    writer.layer("MatMul", f"x {weight}", "y")
    assert refused(writer, tmp_path) == (
        "y (net.onnx:2: MatMul(x, w_q)): its weights are given scales that differ within an output "
        "channel; give each output channel one scale"
    )


def test_signs_of_activations_are_those_of_the_file(tmp_path: Path) -> None:
    """FINN's binary network: thresholds fold the norms, whose gains have both signs."""
    writer, values = Writer(4), {}
    x = writer.quantise("x", 8, 1 / 128)
    for index, (before, after) in enumerate(((3, 16), (16, 8))):
        weight = writer.weight(f"w{index}", (after, before, 3, 3), 1, 1 / 16)
        x = writer.norm(writer.layer("Conv", f"{x} {weight}", f"conv{index}"), f"n{index}", after)
        x = writer.sign(x, 0.5)
        values[f"conv{index}"] = x
        if index == 0:
            x = writer.layer("MaxPool", x, "pool", kernel_shape=[2, 2], strides=[2, 2])
    proto = writer.model({"x": (1, 3, 10, 10)}, x)
    workload = integers(proto, tmp_path / "signs.onnx")
    kinds = {name: str(workload.tensor(name).element) for name in ("conv0", "pool", "conv1")}
    assert kinds == {"conv0": "b1", "pool": "b1", "conv1": "b1"}
    assert not differences(proto, workload, writer.scales, values, images(4, 3, 10, 10)).any()


@pytest.mark.parametrize(("kind", "zero", "bits"), [("uint8", 128, 8), ("int4", 0, 4)])
def test_stored_integers_stay_as_they_are(kind: str, zero: int, bits: int, tmp_path: Path) -> None:
    half = 1 << (bits - 1)
    given = RANDOM.integers(-half, half, (4, 5))
    given[0, :2] = -half, half - 1
    code = TensorProto.DataType.Value(kind.upper())
    proto = model(
        [
            node("QuantizeLinear", "x s z", "i"),
            node("DequantizeLinear", "i s z", "real"),
            node("DequantizeLinear", "w s zw", "wr"),
            node("MatMul", "real wr", "y", "fc"),
        ],
        {"x": (1, 4)},
        {"s": np.array(0.25, np.float32), "z": np.array(128, np.uint8)},
        opset=21,
    )
    for name, values in (("w", given + zero), ("zw", np.array(zero))):
        size, flat = values.shape, values.flatten().tolist()
        proto.graph.initializer.append(helper.make_tensor(name, code, size, flat))
    workload = integers(proto, tmp_path / "net.onnx")
    assert str(workload.tensor("x").element) == "i8"
    assert str(workload.tensor("fc.weight").element) == f"i{bits}"
    assert np.array_equal(workload.constants["fc.weight"], given.T)


def test_integers_that_something_computes_with_are_refused(tmp_path: Path) -> None:
    constants: dict[str, Array] = {"s": np.array(0.25, np.float32), "z": np.array(0, np.int8)}
    pair = node("QuantizeLinear", "x s z", "i", "q")
    other = node("DequantizeLinear", "i t z", "y", "d")
    proto = model([pair, other], {"x": (1, 4)}, {**constants, "t": np.array(0.5, np.float32)})
    with pytest.raises(UnsupportedError) as caught:
        integers(proto, tmp_path / "net.onnx")
    assert str(caught.value) == (
        "d (net.onnx:2: DequantizeLinear(i, t, z)): its scale or zero point is not that of q; "
        "dequantise with the scale and the zero point of the QuantizeLinear node"
    )
