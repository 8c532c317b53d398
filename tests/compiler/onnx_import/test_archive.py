"""ONNX files as data: what is refused before any node is looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from intaglio.compiler.onnx_import import load_onnx
from intaglio.compiler.onnx_import.archive import read_model
from intaglio.compiler.onnx_import.importer import import_network
from intaglio.errors import CaptureError, IntaglioError, UsageError
from tests.compiler.onnx_import.graphs import evaluated, model, node, saved


def product() -> ModelProto:
    weight = np.arange(12, dtype=np.float32).reshape(4, 3)
    return model([node("MatMul", "x w")], {"x": (1, 4)}, {"w": weight})


def split(folder: Path, location: str = "weights.bin") -> Path:
    """A model whose weight stands in another file; `location` is what the model says of it."""
    path = folder / "net.onnx"
    onnx.save_model(
        product(),
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    proto = onnx.load(path, load_external_data=False)
    (entry,) = (e for e in proto.graph.initializer[0].external_data if e.key == "location")
    entry.value = location
    path.write_bytes(proto.SerializeToString())
    return path


def refusal(path: Path, kind: type[IntaglioError] = CaptureError) -> str:
    with pytest.raises(kind) as caught:
        load_onnx(path)
    assert type(caught.value) is kind
    return str(caught.value)


def test_data_beside_the_file_are_read(tmp_path: Path) -> None:
    path = split(tmp_path)
    assert (tmp_path / "weights.bin").stat().st_size == 48
    program, (x,) = load_onnx(path)
    (made,) = program.module()(x)
    (expected,) = evaluated(product(), {"x": x.numpy()})
    np.testing.assert_allclose(made.detach().numpy(), expected, rtol=1e-5)


def test_data_outside_the_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(48))
    inner = tmp_path / "inner"
    inner.mkdir()
    for place in ("../secret", str(tmp_path / "secret")):
        path = split(inner, place)
        assert refusal(path) == (
            f"{path}: keeps 'w' in '{place}', which is outside its own folder; save the model with "
            "its data beside it"
        )
    path = split(inner, "link")
    (inner / "link").symlink_to(tmp_path / "secret")
    assert "which is outside its own folder" in refusal(path)
    (inner / "link").unlink()
    (inner / "link").symlink_to(inner / "weights.bin")
    assert "which is outside its own folder" in refusal(path)


def test_a_tensor_of_an_attribute_is_held_to_its_folder_too(tmp_path: Path) -> None:
    proto = product()
    proto.graph.node.append(node("Constant", "", "c", value=proto.graph.initializer[0]))
    stored = proto.graph.node[-1].attribute[0].t
    stored.ClearField("raw_data")
    stored.data_location = TensorProto.EXTERNAL
    stored.external_data.add(key="location", value="/etc/hostname")
    path = saved(proto, tmp_path / "net.onnx")
    assert refusal(path) == (
        f"{path}: keeps 'w' in '/etc/hostname', which is outside its own folder; save the model "
        "with its data beside it"
    )


def test_missing_and_short_data_are_refused(tmp_path: Path) -> None:
    path = split(tmp_path, "other.bin")
    assert refusal(path) == (
        f"{path}: keeps 'w' in 'other.bin', which is no file; put the file of the model's data "
        "beside it"
    )
    path = split(tmp_path)
    (tmp_path / "weights.bin").write_bytes(bytes(20))
    assert refusal(path).startswith(f"{path}: cannot be read as an ONNX model (")


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    assert refusal(path, UsageError) == (
        f"{path}: there is no such file; give the path of an ONNX file"
    )
    whole = product().SerializeToString()
    for content in (b"", b"text", whole[: len(whole) // 2], b"\x80\x04\x95" * 9):
        path.write_bytes(content)
        sentence = refusal(path)
        assert sentence.startswith(f"{path}: cannot be read as an ONNX model (")
        assert sentence.endswith("); export it again")
        assert "\n" not in sentence


def test_a_damaged_file_is_read_or_refused(tmp_path: Path) -> None:
    """Files with a few bytes changed: nothing but a refusal is ever raised."""
    whole = np.frombuffer(saved(product(), tmp_path / "net.onnx").read_bytes(), np.uint8)
    random = np.random.default_rng(0)
    refused = []
    for _ in range(300):
        damaged = whole.copy()
        places = random.integers(len(whole), size=random.integers(1, 4))
        damaged[places] = random.integers(256, size=len(places))
        (tmp_path / "net.onnx").write_bytes(damaged.tobytes())
        try:
            import_network(tmp_path / "net.onnx")
        except IntaglioError as error:
            refused.append(str(error))
    assert 0 < len(refused) < 300
    assert not any("\n" in sentence for sentence in refused)


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = saved(product(), tmp_path / "net.onnx")
    path.write_bytes(path.read_bytes().replace(b"MatMul", b"Mat\xff\xfel"))
    assert refusal(path) == f"{path}: holds a name that is not UTF-8 text; export it again"


def test_a_model_that_onnx_finds_wrong_is_refused(tmp_path: Path) -> None:
    proto = product()
    proto.graph.node[0].input[1] = "nowhere"
    path = saved(proto, tmp_path / "net.onnx")
    assert refusal(path) == (
        f"{path}: cannot be read as an ONNX model (Nodes in a graph must be topologically sorted, "
        "however input 'nowhere' of node); export it again"
    )


def test_operator_sets_outside_the_known_ones_are_refused(tmp_path: Path) -> None:
    for opset in (8, 26):
        path = saved(model([node("Relu", "x")], {"x": (1, 4)}, opset=opset), tmp_path / "net.onnx")
        assert refusal(path) == (
            f"{path}: is written for operator set {opset}, 9 to 24 are read; export it again "
            "with opset_version=17, or convert it by "
            "onnx.version_converter.convert_version(model, 17)"
        )


def test_a_tensor_of_text_is_refused(tmp_path: Path) -> None:
    proto = product()
    proto.graph.initializer.append(numpy_helper.from_array(np.array(["a"], dtype=object), "t"))
    path = saved(proto, tmp_path / "net.onnx")
    assert refusal(path) == (
        "tensor 't' of string and shape (1,) cannot be taken from the file; store it in float32 or "
        "int64"
    )


def test_a_local_function_is_inlined(tmp_path: Path) -> None:
    opset = helper.make_opsetid("", 17)
    function = helper.make_function(
        "mine", "Twice", ["a"], ["b"], [node("Add", "a a", "b")], [opset]
    )
    graph = model([node("Relu", "x")], {"x": (1, 4)}).graph
    graph.node[0].CopyFrom(helper.make_node("Twice", ["x"], ["y"], domain="mine"))
    proto = helper.make_model(
        graph,
        functions=[function],
        opset_imports=[opset, helper.make_opsetid("mine", 1)],
        ir_version=10,
    )
    path = saved(proto, tmp_path / "net.onnx")
    assert [made.op_type for made in read_model(path).graph.node] == ["Add"]
    program, (x,) = load_onnx(path)
    np.testing.assert_array_equal(program.module()(x)[0], 2 * x)
