"""What a file quantises besides layers: recurrent weights, tables, inputs, and what averages them.

Nothing that has a quantiser is calibrated, and other bits for it are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto

from intaglio.compiler.onnx_import import load_onnx
from intaglio.compiler.onnx_import.operators.recurrent import GATES
from intaglio.compiler.operators import Constant
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.precision import Bits, Precision
from intaglio.compiler.reference import quantise_inputs, run
from intaglio.errors import UnsupportedError, UsageError
from tests.compiler.models import Calls
from tests.compiler.onnx_import.graphs import Array, model, node, saved
from tests.compiler.onnx_import.quantised import Writer, integers

RANDOM = np.random.default_rng(11)
HIDDEN, STEP = 3, 1 / 64


def drawn(*size: int) -> Array:
    values: Array = RANDOM.integers(-127, 128, size).astype(np.int8)
    return values


def single(values: Any) -> Array:
    return np.asarray(values, np.float32)


@pytest.mark.parametrize("kind", GATES)
def test_a_recurrent_layer_keeps_the_integers_of_its_weights(kind: str, tmp_path: Path) -> None:
    gates = GATES[kind]
    rows = len(gates) * HIDDEN
    given = {"w": drawn(2, rows, 5), "r": drawn(2, rows, HIDDEN)}
    scales: dict[str, Array] = {"ws": single(STEP), "rs": single(RANDOM.uniform(0.01, 0.02, rows))}
    options: dict[str, Any] = {"hidden_size": HIDDEN, "direction": "bidirectional", "layout": 1}
    options |= {"linear_before_reset": 1} if kind == "GRU" else {}
    nodes = [
        node("DequantizeLinear", "w ws", "wr"),
        node("DequantizeLinear", "r rs", "rr", axis=1),
        node(kind, "x wr rr", "y", "cell", **options),
    ]
    proto = model(nodes, {"x": (1, 2, 5)}, {**given, **scales}, opset=21)
    workload = integers(proto, tmp_path / "net.onnx")
    order = np.concatenate([np.arange(HIDDEN) + gate * HIDDEN for gate in gates])
    wanted = {"w": np.full(rows, STEP), "r": scales["rs"][order]}
    made = [
        (workload.constants[name], workload.tensor(name).channel_scales)
        for name in workload.constants
        if name.endswith(".weight")
    ]
    for name, values in given.items():
        for direction in values[:, order]:
            found = [scale for integer, scale in made if np.array_equal(integer, direction)]
            assert len(found) == 1
            assert np.array_equal(np.array(found[0], np.float32), wanted[name])


def embedding(values: Array, scale: Any) -> ModelProto:
    """Rows of a table of integers, scaled by 4."""
    nodes = [
        node("DequantizeLinear", "t s", "r", axis=0),
        node("Mul", "r four", "table"),
        node("Gather", "table i", "y", "rows"),
    ]
    constants = {"t": values, "s": single(scale), "four": single(4)}
    return model(nodes, {"i": (1, 3)}, constants, opset=21, kinds={"i": TensorProto.INT64})


def test_a_table_keeps_its_integers_and_their_scale(tmp_path: Path) -> None:
    values = drawn(6, 4)
    workload = integers(embedding(values, STEP), tmp_path / "net.onnx")
    (table,) = (op for op in workload.ops if isinstance(op, Constant))
    assert np.array_equal(workload.constants[table.value], values)
    assert workload.tensor(table.output).scale == 4 * STEP


def test_a_table_of_several_scales_is_refused(tmp_path: Path) -> None:
    proto = embedding(drawn(6, 4), np.linspace(0.01, 0.02, 6))
    with pytest.raises(UnsupportedError) as caught:
        integers(proto, tmp_path / "net.onnx")
    assert str(caught.value) == (
        "rows (net.onnx:3: Gather(table, i)): it reads a constant of shape (6, 4) quantised with 6 "
        "scales; quantise this constant with one scale"
    )


def convolution() -> Writer:
    """A convolution whose input, weight and values have quantisers of 4 bits, averaged."""
    writer = Writer(3)
    writer.quantise("x", 4, 0.125)
    weight = writer.weight("w", (4, 3, 1, 1), 4, 1 / 16)
    writer.layer("Conv", f"x_q {weight}", "conv")
    writer.quantise("conv", 4, 0.25)
    window = {"kernel_shape": [2, 2], "strides": [2, 2]}
    writer.layer("MaxPool", "conv_q", "largest", **window)
    writer.layer("AveragePool", "largest", "mean", **window)
    return writer


@pytest.mark.parametrize(
    ("name", "bits", "sentence"),
    [
        ("x", Bits(activations=8), "precision gives activations of 8 bits to 'x', to which a "
         "quantiser of the model gives 4; leave them out, or change the quantiser"),
        ("conv", Bits(activations=3), "precision gives activations of 3 bits to 'conv', to which a "
         "quantiser of the model gives 4; leave them out, or change the quantiser"),
        ("conv", Bits(weights=8), "precision gives weights of 8 bits to 'conv', to which a "
         "quantiser of the model gives 4; leave them out, or change the quantiser"),
    ],
)  # fmt: skip
def test_bits_that_a_quantiser_gives_are_not_given_again(
    name: str, bits: Bits, sentence: str, tmp_path: Path
) -> None:
    proto = convolution().model({"x": (1, 3, 8, 8)}, "mean")
    loaded = load_onnx(saved(proto, tmp_path / "net.onnx"))
    with pytest.raises(UsageError) as caught:
        to_workload(*loaded, precision=Precision(layers={name: bits}))
    assert str(caught.value) == sentence


def test_an_average_that_has_no_quantiser_is_calibrated(tmp_path: Path) -> None:
    proto = convolution().model({"x": (1, 3, 8, 8)}, "mean")
    loaded = load_onnx(saved(proto, tmp_path / "net.onnx"))
    own = {"conv": Bits(4, 4), "mean": Bits(activations=7)}
    workload = to_workload(*loaded, precision=Precision(layers=own))
    types = [str(workload.tensor(name).element) for name in ("conv", "largest", "mean")]
    assert types == ["i4", "i4", "i7"]


@pytest.mark.parametrize(("lo", "hi"), [(-127, 127), (-5, 6), (0, 9), (-8, 7)])
def test_the_border_keeps_to_the_range_of_a_quantiser(lo: int, hi: int) -> None:
    def forward(m: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        kept = torch.fake_quantize_per_tensor_affine(x, 0.25, 0, lo, hi)
        return torch.fake_quantize_per_tensor_affine(kept + kept, 0.5, 0, lo, hi)

    x = torch.linspace(lo - 3, hi + 3, 4 * (hi - lo + 6) + 1)[None] * 0.25
    workload = to_workload(Calls(forward).eval(), (x,))
    made = run(workload, quantise_inputs(workload, {"x": x.numpy()}))[workload.outputs[0]]
    steps = np.floor(x.numpy().astype(np.float64) / 0.25 + 0.5)
    assert np.array_equal(made, np.clip(steps, lo, hi))
