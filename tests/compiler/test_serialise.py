"""Workloads on disk round-trip, refuse damage, and print as text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from intaglio.compiler import reference, serialise
from intaglio.compiler.workload import Workload
from intaglio.errors import ArtifactError
from tests.compiler.builders import draw_inputs, every_operator
from tests.conftest import Golden


def test_a_workload_round_trips(tmp_path: Path) -> None:
    original = every_operator()
    paths = serialise.save_workload(original, tmp_path)
    assert [path.name for path in paths] == ["workload.json", "workload.safetensors"]
    loaded = serialise.load_workload(tmp_path)
    assert loaded.ops == original.ops
    assert loaded.tensors == original.tensors
    assert (loaded.name, loaded.inputs, loaded.outputs) == (
        original.name,
        original.inputs,
        original.outputs,
    )
    assert loaded.constants.keys() == original.constants.keys()
    for name, array in original.constants.items():
        assert loaded.constants[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded.constants[name], array)
    values = draw_inputs(original)
    expected = reference.run(original, values)
    for name, array in reference.run(loaded, values).items():
        np.testing.assert_array_equal(array, expected[name])


def test_the_files_are_reproducible(tmp_path: Path) -> None:
    texts = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        texts.append([p.read_bytes() for p in serialise.save_workload(every_operator(), folder)])
    assert texts[0] == texts[1]


def test_a_workload_of_shapes_only_round_trips(tmp_path: Path) -> None:
    full = every_operator()
    shapes = Workload(full.name, full.inputs, full.outputs, full.ops, full.tensors)
    serialise.save_workload(shapes, tmp_path)
    assert not serialise.load_workload(tmp_path).emittable


def change(folder: Path, **changes: object) -> None:
    path = folder / "workload.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refusal(folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        serialise.load_workload(folder)
    return str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "workload.json"
    assert refusal(tmp_path) == (
        f"{path}: cannot be read (No such file or directory); compile the model again"
    )
    serialise.save_workload(every_operator(), tmp_path)
    (tmp_path / "workload.safetensors").unlink()
    assert refusal(tmp_path) == (
        f"{tmp_path / 'workload.safetensors'}: cannot be read (No such file or directory); "
        "compile the model again"
    )


def test_changed_numbers_are_refused(tmp_path: Path) -> None:
    _, numbers = serialise.save_workload(every_operator(), tmp_path)
    damaged = bytearray(numbers.read_bytes())
    damaged[-1] ^= 1
    numbers.write_bytes(bytes(damaged))
    assert refusal(tmp_path) == (
        f"{numbers}: its SHA-256 is not the one workload.json names; compile the model again"
    )


def test_another_schema_is_refused(tmp_path: Path) -> None:
    serialise.save_workload(every_operator(), tmp_path)
    change(tmp_path, schema=1)
    assert refusal(tmp_path) == (
        f"{tmp_path / 'workload.json'}: schema 1 is not 2, the one this version reads; compile "
        "the model again"
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"numbers": {}}, "KeyError: 'sha256'"),
        ({"workload": {"tensors": []}}, "KeyError: 'ops'"),
        (
            {"workload": {"name": "n", "inputs": [], "outputs": [], "tensors": [], "ops": []}},
            "IntaglioError: constant 'add.bias' has no tensor",
        ),
    ],
)
def test_a_corrupt_structure_is_refused(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    serialise.save_workload(every_operator(), tmp_path)
    change(tmp_path, **changes)
    path = tmp_path / "workload.json"
    assert refusal(tmp_path) == f"{path}: is corrupt ({reason}); compile the model again"


def test_text_that_is_not_json_is_refused(tmp_path: Path) -> None:
    path, _ = serialise.save_workload(every_operator(), tmp_path)
    path.write_text("{")
    assert refusal(tmp_path).startswith(f"{path}: is corrupt (JSONDecodeError: ")


def test_the_text_of_a_workload(golden: Golden) -> None:
    golden("every_operator.txt", serialise.describe(every_operator()))


def test_the_text_of_a_workload_of_shapes_only() -> None:
    full = every_operator()
    shapes = Workload(full.name, full.inputs, full.outputs, full.ops, full.tensors)
    assert "[m ? s ? b ? to 0..255]" in serialise.describe(shapes)
