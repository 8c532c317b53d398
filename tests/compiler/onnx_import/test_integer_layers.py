"""Operators on integers: those that carry scales are read exactly, the others are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from intaglio.compiler.onnx_import import load_onnx
from intaglio.errors import UnsupportedError
from tests.compiler.onnx_import.graphs import Array, model, node, saved
from tests.compiler.onnx_import.quantised import differences, integers

RANDOM = np.random.default_rng(8)
SCALES = {"conv_back": float(np.float32(0.05)), "fc_back": 0.25}


def network(behind: str = "cs") -> ModelProto:
    """A convolution and a product of integers; `behind` is the scale that the product reads."""
    constants: dict[str, Array] = {
        "w": RANDOM.integers(-128, 128, (8, 3, 3, 3)).astype(np.int8),
        "b": RANDOM.integers(-999, 999, 8).astype(np.int32),
        "v": RANDOM.integers(-128, 128, (288, 5)).astype(np.int8),
        "size": np.array([1, -1]),
        "middle": np.array(128, np.uint8),
        "zero": np.array(0, np.int8),
        "least": np.array(0, np.uint8),
    }
    reals = {"xs": 1 / 64, "ws": RANDOM.uniform(0.01, 0.02, 8), "vs": np.linspace(0.01, 0.03, 5)}
    reals |= {"cs": 0.05, "fs": 0.25}
    constants |= {name: np.asarray(value, np.float32) for name, value in reals.items()}
    nodes = [
        node("QuantizeLinear", "x xs middle", "xq"),
        node("QLinearConv", "xq xs middle w ws zero cs least b", "c", "conv", pads=[1, 1, 1, 1]),
        node("DequantizeLinear", "c cs least", "conv_back"),
        node("Reshape", "c size", "flat"),
        node("QLinearMatMul", f"flat {behind} least v vs zero fs zero", "f", "fc"),
        node("DequantizeLinear", "f fs zero", "fc_back"),
    ]
    return model(nodes, {"x": (1, 3, 6, 6)}, constants, ["fc_back"], opset=21)


def test_layers_of_integers_keep_them(tmp_path: Path) -> None:
    proto = network()
    workload = integers(proto, tmp_path / "net.onnx")
    stored = [value for name, value in workload.constants.items() if name.endswith(".weight")]
    held = {tensor.name: tensor for tensor in proto.graph.initializer}
    assert np.array_equal(stored[0].ravel(), np.frombuffer(held["w"].raw_data, np.int8))
    assert np.array_equal(stored[1].T.ravel(), np.frombuffer(held["v"].raw_data, np.int8))
    x = RANDOM.uniform(-2, 2, (1, 3, 6, 6)).astype(np.float32)
    values = {"conv": "conv_back", "fc": "fc_back"}
    assert not differences(proto, workload, SCALES, values, x).any()


def test_a_layer_that_reads_integers_on_another_scale_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError) as caught:
        load_onnx(saved(network("xs"), tmp_path / "net.onnx"))
    assert str(caught.value) == (
        "fc (net.onnx:5: QLinearMatMul(flat, xs, least, v, vs, zero, fs, zero)): its scale or zero "
        "point is not that of conv; dequantise with the scale and the zero point of the "
        "QuantizeLinear node"
    )


PAIRS = "export the network with QuantizeLinear and DequantizeLinear around operators on reals"


@pytest.mark.parametrize(
    ("kind", "reads", "domain", "sentence"),
    [
        ("ConvInteger", "x w", "", "makes sums of integers, which no node gives a scale; " + PAIRS),
        ("MatMulInteger", "x w", "", "makes sums of integers, which no node gives a scale; "
         + PAIRS),
        ("DynamicQuantizeLinear", "x", "", "chooses another scale for every input; quantise with "
         "constant scales, as static quantisation does"),
        ("MultiThreshold", "x w", "qonnx.custom_op.general", "makes integers by thresholds; export "
         "the network with Quant nodes, ahead of FINN's own transformations"),
        ("Trunc", "x w w w w", "qonnx.custom_op.general", "cuts off the lowest bits of a sum "
         "without rounding; average with AveragePool and put a Quant node behind it"),
    ],
)  # fmt: skip
def test_integers_without_scales_are_refused(
    kind: str, reads: str, domain: str, sentence: str, tmp_path: Path
) -> None:
    outputs = "y s z" if kind == "DynamicQuantizeLinear" else "y"
    made = node(kind, reads, outputs, "n", **({"domain": domain} if domain else {}))
    proto = model([made], {"x": (1, 4)}, {"w": np.zeros((4, 4), np.float32)})
    with pytest.raises(UnsupportedError) as caught:
        load_onnx(saved(proto, tmp_path / "net.onnx"))
    call = f"{kind}({', '.join(reads.split())})"
    assert str(caught.value) == f"n (net.onnx:1: {call}): operator {kind} {sentence}"
