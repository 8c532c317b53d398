"""From an ONNX file to a workload: names, inputs, and what each refusal says."""

from __future__ import annotations

import json
import keyword
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto
from torch import nn

import intaglio
from intaglio import cli
from intaglio.compiler.check import check
from intaglio.compiler.model import load_model
from intaglio.compiler.onnx_import import load_onnx
from intaglio.compiler.onnx_import.network import identifiers
from intaglio.compiler.pipeline import to_workload
from intaglio.errors import (
    CalibrationError,
    CaptureError,
    IntaglioError,
    ToolError,
    UnsupportedError,
)
from intaglio.examples.networks import resnet8
from tests.compiler.onnx_import.graphs import Array, evaluated, exported, model, node, saved


class Recurrent(nn.Module):
    """Layers whose gates ONNX orders differently."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 4, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(8, 3, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.gru(self.lstm(x)[0])[0]
        return result


RANDOM = np.random.default_rng(5)


def weights(*size: int) -> Array:
    scale = np.sqrt(np.prod(size[1:]))
    values: Array = RANDOM.standard_normal(size) / scale
    return values.astype(np.float32)


def lenet() -> ModelProto:
    """LeNet-5 as torch.onnx.export names its nodes, with an open batch."""
    window = {"kernel_shape": [2, 2], "strides": [2, 2]}
    constants = {}
    for name, *size in (
        ("conv1", 6, 1, 5, 5), ("conv2", 16, 6, 5, 5), ("fc1", 120, 400), ("fc2", 84, 120),
        ("fc3", 10, 84),
    ):  # fmt: skip
        constants[f"{name}.weight"] = weights(*size)
        constants[f"{name}.bias"] = weights(size[0])

    def layer(kind: str, name: str, x: str, y: str, **attributes: Any) -> Any:
        return node(kind, f"{x} {name}.weight {name}.bias", y, f"/{name}/{kind}", **attributes)

    nodes = [
        layer("Conv", "conv1", "images", "a", pads=[2, 2, 2, 2]),
        node("Relu", "a", "b", "/relu/Relu"),
        node("MaxPool", "b", "c", "/pool/MaxPool", **window),
        layer("Conv", "conv2", "c", "d"),
        node("Relu", "d", "e"),
        node("MaxPool", "e", "f", "/pool_1/MaxPool", **window),
        node("Shape", "f", "size"),
        node("Gather", "size zero", "batch"),
        node("Concat", "batch rest", "flat", axis=0),
        node("Reshape", "f flat", "g", "/Reshape"),
        layer("Gemm", "fc1", "g", "h", transB=1),
        node("Relu", "h", "i"),
        layer("Gemm", "fc2", "i", "j", transB=1),
        node("Relu", "j", "k"),
        layer("Gemm", "fc3", "k", "logits", transB=1),
    ]
    constants |= {"zero": np.array([0]), "rest": np.array([-1])}
    return model(nodes, {"images": ("batch", 1, 28, 28)}, constants, ["logits"])


def refusal(proto: ModelProto, folder: Path, kind: type[IntaglioError] = UnsupportedError) -> str:
    with pytest.raises(kind) as caught:
        load_onnx(saved(proto, folder / "net.onnx"))
    return str(caught.value)


def test_lenet_computes_what_onnx_says(tmp_path: Path) -> None:
    proto = lenet()
    loaded = load_model(str(saved(proto, tmp_path / "lenet.onnx")))
    assert loaded.name == "lenet"
    assert isinstance(loaded.module, torch.export.ExportedProgram)
    (x,) = loaded.example_inputs
    (made,) = loaded.module.module()(x)
    (expected,) = evaluated(proto, {"images": x.numpy()})
    np.testing.assert_allclose(made.detach().numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.rtl
def test_lenet_is_proven_in_rtl(tmp_path: Path) -> None:
    loaded = load_model(str(saved(lenet(), tmp_path / "lenet.onnx")))
    artifact = intaglio.compile(
        loaded.module, loaded.example_inputs, name=loaded.name, output=tmp_path / "lenet"
    )
    workload = artifact.deployment.workload
    assert workload.inputs == ("images",)
    assert [op.name for op in workload.ops] == [
        "conv1.Conv", "pool.MaxPool", "conv2.Conv", "pool_1.MaxPool", "Reshape", "fc1.Gemm",
        "fc2.Gemm", "fc3.Gemm",
    ]  # fmt: skip
    assert workload.ops[0].source.line == ("lenet.onnx:1: Conv(images, conv1.weight, conv1.bias)")
    proof = intaglio.verify(artifact, images=1)
    assert proof.passed, proof.first


@pytest.mark.rtl
def test_the_command_line_takes_a_file_to_proven_hardware(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proto = model(
        [
            node("Conv", "x w b", "a", "/conv/Conv", pads=[1, 1, 1, 1]),
            node("Add", "a x", "c", "/Add"),
            node("Relu", "c", "d", "/relu/Relu"),
            node("GlobalAveragePool", "d", "y", "/pool/GlobalAveragePool"),
        ],
        {"x": (None, 3, 6, 6)},
        {"w": weights(3, 3, 3, 3), "b": weights(3)},
    )
    path, folder = str(saved(proto, tmp_path / "net.onnx")), str(tmp_path / "net")

    def ran(*words: str) -> dict[str, Any]:
        code = cli.main([*words, "--json"])
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert code == 0, answer
        return answer

    assert ran("check", path)["model"] == "net"
    assert ran("compile", path, "-o", folder)["layers"] == 1  # the pool is fused
    proof = ran("verify", folder)
    assert proof["words_compared"] > 0
    assert proof["mismatches"] == 0


def test_the_command_line_names_the_refused_node(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(model([node("Det", "x", name="det")], {"x": (1, 2, 2)}), tmp_path / "net.onnx")
    assert cli.main(["check", str(path)]) == 1
    assert capsys.readouterr().err == (
        "error: det (net.onnx:1: Det(x)): operator Det is not among those that are imported; "
        "replace it by supported operators, or run this part outside the model\n"
    )


@pytest.mark.parametrize("opset", [11, 13, 17, 20])
def test_an_exported_network_maps_as_the_module_does(opset: int, tmp_path: Path) -> None:
    module, (x,) = resnet8()
    program, examples = load_onnx(exported(module, x, tmp_path / "net.onnx", opset))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x)[0], module(x), rtol=1e-5, atol=1e-5)
    made, direct = (to_workload(m, e) for m, e in ((program, (x,)), (module, (x,))))
    assert examples[0].shape == x.shape
    assert [type(op) for op in made.ops] == [type(op) for op in direct.ops]


@pytest.mark.parametrize("opset", [14, 17, 20])
def test_an_exported_transformer_computes_the_same(opset: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu")
    module = nn.Sequential(layer).eval()
    x = torch.randn(1, 5, 16)
    program, _ = load_onnx(exported(module, x, tmp_path / "net.onnx", opset))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x)[0], module(x), rtol=1e-5, atol=1e-5)


def test_an_exported_recurrent_network_computes_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Recurrent().eval()
    x = torch.randn(1, 5, 6)
    program, _ = load_onnx(exported(module, x, tmp_path / "net.onnx", 17))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x)[0], module(x), rtol=1e-5, atol=1e-5)


def test_an_open_batch_is_taken_as_one_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = saved(lenet(), tmp_path / "lenet.onnx")
    load_onnx(path)
    warned = [row.getMessage() for row in caplog.records if row.levelname == "WARNING"]
    assert warned == [
        f"{path}: input 'images' has shape (batch, 1, 28, 28); its batch is taken as 1"
    ]


def test_example_inputs_are_seeded(tmp_path: Path) -> None:
    path = saved(lenet(), tmp_path / "lenet.onnx")
    (first,), (again,), (other,) = (load_onnx(path, seed)[1] for seed in (0, 0, 1))
    assert first.shape == (1, 1, 28, 28)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_inputs_keep_their_names_and_order(tmp_path: Path) -> None:
    table = weights(9, 4)
    proto = model(
        [node("Gather", "table tokens", "rows"), node("Add", "rows x.1")],
        {"tokens": (1, 3), "x.1": (1, 3, 4)},
        {"table": table},
        kinds={"tokens": TensorProto.INT64},
    )
    program, examples = load_onnx(saved(proto, tmp_path / "net.onnx"))
    assert [example.dtype for example in examples] == [torch.int64, torch.float32]
    assert to_workload(program, examples).inputs == ("tokens", "x_1")


def test_inputs_may_have_names_of_pythons_own(tmp_path: Path) -> None:
    names = ("input", "filter", "id")
    proto = model(
        [node("Add", "input filter", "sum"), node("Add", "sum id")],
        dict.fromkeys(names, (1, 4)),
    )
    program, examples = load_onnx(saved(proto, tmp_path / "net.onnx"))
    data = {name: np.ones((2, 4), np.float32) for name in names}
    assert to_workload(program, examples, calibration=data).inputs == names
    with pytest.raises(CalibrationError) as caught:
        to_workload(program, examples, calibration=data | {"input_1": data["input"]})
    assert str(caught.value) == (
        "calibration key 'input_1' is no input of the model; did you mean 'input'?"
    )


def test_names_of_inputs_never_become_code(tmp_path: Path) -> None:
    name = "x, y=__import__('sys').modules.update(intaglio_payload=1)"
    proto = model([node("Relu", "a")], {"a": (1, 4)})
    proto.graph.input[0].name = name
    proto.graph.node[0].input[0] = name
    program, examples = load_onnx(saved(proto, tmp_path / "net.onnx"))
    program.module()(*examples)
    (made,) = to_workload(program, examples).inputs
    assert made.isidentifier()
    names = identifiers(["1", "class", "a b", "a.b", "", "é"])
    assert len(set(names)) == 6
    assert all(n.isidentifier() and n.isascii() and not keyword.iskeyword(n) for n in names)


def test_names_of_nodes_become_names_of_layers(tmp_path: Path) -> None:
    names = ("/a/b c/Relu", "../../x", "a::b<1>", "a::b<1>", "", "é\n" * 80)
    chain = ["x", *(f"v{i}" for i in range(len(names) - 1)), "y"]
    nodes = [
        node("Softmax", before, after, name)
        for name, before, after in zip(names, chain[:-1], chain[1:], strict=True)
    ]
    loaded = load_model(str(saved(model(nodes, {"x": (1, 4)}), tmp_path / "net.onnx")))
    workload = to_workload(loaded.module, loaded.example_inputs)
    assert [op.name for op in workload.ops] == [
        "a.b_c.Relu",
        "x_2",
        "a_b_1_",
        "a_b_1__2",
        "softmax_5",
        "_",
    ]


def test_values_of_any_name_can_be_constants(tmp_path: Path) -> None:
    """Names that a torch module has already, and two that differ in punctuation alone."""
    names = ("forward", "training", "w.1", "w/1", "_parameters", "é")
    chain = ["x", *(f"v{i}" for i in range(len(names) - 1)), "y"]
    nodes = []
    for i, name in enumerate(names):
        made = node("MatMul", "a b", chain[i + 1], name)
        made.input[:] = [chain[i], name]
        nodes.append(made)
    constants = {name: weights(3, 3) for name in names}
    proto = model(nodes, {"x": (1, 3)}, constants)
    program, (x,) = load_onnx(saved(proto, tmp_path / "net.onnx"))
    (expected,) = evaluated(proto, {"x": x.numpy()})
    np.testing.assert_allclose(
        program.module()(x)[0].detach().numpy(), expected, rtol=1e-5, atol=1e-5
    )


def test_a_refused_node_is_named_as_onnx_names_it(tmp_path: Path) -> None:
    proto = model(
        [node("Conv", "x w", "a", "/conv/Conv"), node("Pad", "a p c", "y", "/pad/Pad")],
        {"x": (1, 2, 5, 5)},
        {
            "w": weights(3, 2, 3, 3),
            "p": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
            "c": np.array(-np.inf, np.float32),
        },
    )
    loaded = load_model(str(saved(proto, tmp_path / "net.onnx")))
    report = check(loaded.module, loaded.example_inputs)
    assert [(v.line, v.reason, v.way_out) for v in report.refused] == [
        (
            "net.onnx:2: Pad(a, p, c)",
            "it pads with -inf",
            "pad with a finite number, or add allow_host=True to run it on the host",
        )
    ]
    with pytest.raises(UnsupportedError) as caught:
        to_workload(loaded.module, loaded.example_inputs)
    assert str(caught.value) == (
        "pad.Pad (net.onnx:2: Pad(a, p, c)): it pads with -inf; pad with a finite number, or add "
        "allow_host=True to run it on the host"
    )


def test_unknown_operators_are_refused_together(tmp_path: Path) -> None:
    proto = model(
        [
            node("Relu", "x", "a"),
            node("Det", "a", "b", "/det"),
            node("NonZero", "x", "c"),
            node("Det", "a", "y"),
        ],
        {"x": (1, 2, 2)},
    )
    assert refusal(proto, tmp_path) == (
        "det (net.onnx:2: Det(a)): operator Det is not among those that are imported (neither are "
        "NonZero); replace it by supported operators, or run this part outside the model"
    )


def test_operators_of_other_domains_are_refused(tmp_path: Path) -> None:
    proto = model([node("Relu", "x")], {"x": (1, 2)})
    proto.graph.node[0].domain = "com.microsoft"
    proto.opset_import.add(domain="com.microsoft", version=1)
    assert refusal(proto, tmp_path) == (
        "relu_1 (net.onnx:1: Relu(x)): operator Relu of domain 'com.microsoft' is not among those "
        "that are imported; replace it by supported operators, or run this part outside the model"
    )


def test_dynamic_shapes_and_batches_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    proto = model([node("Relu", "x")], {"x": ("N", 3, "height", None)})
    assert refusal(proto, tmp_path, CaptureError) == (
        f"{path}: input 'x' has the dynamic shape (N, 3, height, ?); export the model with fixed "
        "shapes (the batch in front may stay open)"
    )
    proto = model([node("Relu", "x")], {"x": (8, 3)})
    assert refusal(proto, tmp_path, CaptureError) == (
        f"{path}: input 'x' has shape (8, 3); export the model with batch 1"
    )


def test_inputs_without_a_type_of_torch_are_refused(tmp_path: Path) -> None:
    proto = model([node("Identity", "x")], {"x": (1, 3)}, kinds={"x": TensorProto.STRING})
    assert refusal(proto, tmp_path, CaptureError) == (
        f"{tmp_path / 'net.onnx'}: input 'x' holds str; give it float32, or int64 for indices such "
        "as token ids"
    )


def test_a_shape_computed_from_data_is_refused(tmp_path: Path) -> None:
    proto = model(
        [node("Cast", "x", "size", to=TensorProto.INT64), node("Reshape", "x size", "y", "view")],
        {"x": (4,)},
    )
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    assert refusal(proto, tmp_path) == (
        "view (net.onnx:2: Reshape(x, size)): its input 1 is computed from the inputs of the "
        "model; make it a constant of the model"
    )


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (
            node("Reshape", "x n", name="view"),
            "view (net.onnx:1: Reshape(x, n)): it fails on inputs of shape (1, 4, 6, 6), (2,) "
            "(shape '[5, 5]' is invalid for input of size 144); export the model again",
        ),
        (
            node("MaxPool", "x", "y i", kernel_shape=[2, 2]),
            "maxpool_1 (net.onnx:1: MaxPool(x)): its indices are read; read the maxima alone",
        ),
        (
            node("Resize", "x _ s", mode="linear", antialias=1),
            "resize_1 (net.onnx:1: Resize(x, , s)): antialias=1 is not supported; resize without "
            "antialiasing",
        ),
        (
            node("Resize", "x _ s", mode="linear", coordinate_transformation_mode="asymmetric"),
            "resize_1 (net.onnx:1: Resize(x, , s)): mode 'linear' from (1, 4, 6, 6) to (1, 4, 12, "
            "12) with coordinates 'asymmetric' is not supported; resize height and width alone, in "
            "mode 'nearest', or with coordinates 'half_pixel' or 'align_corners'",
        ),
    ],
)
def test_what_an_operator_cannot_do_is_refused(made: Any, sentence: str, tmp_path: Path) -> None:
    constants = {"n": np.array([5, 5]), "s": np.array([1, 1, 2, 2], np.float32)}
    proto = model([made], {"x": (1, 4, 6, 6)}, constants, list(made.output), opset=18)
    assert refusal(proto, tmp_path) == sentence


def test_a_recurrent_layer_that_torch_does_not_have_is_refused(tmp_path: Path) -> None:
    proto = model(
        [node("GRU", "x w r", "y", "gru", hidden_size=3)],
        {"x": (1, 1, 4)},
        {"w": weights(1, 9, 4), "r": weights(1, 9, 3)},
    )
    assert refusal(proto, tmp_path) == (
        "gru (net.onnx:1: GRU(x, w, r)): it resets ahead of the linear layer; export it with "
        "linear_before_reset=1, as PyTorch does"
    )


def test_without_onnx_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ToolError) as caught:
        load_model("net.onnx")
    assert str(caught.value) == "onnx is not installed; run: pip install 'intaglio[onnx]'"
