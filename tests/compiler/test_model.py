"""The MODEL forms: files, modules and archives, and what each refuses."""

from __future__ import annotations

import pickle
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
import torch

from intaglio.compiler.model import load_model
from intaglio.compiler.pipeline import to_workload
from intaglio.errors import CaptureError, IntaglioError, UsageError
from tests.compiler.models import Residual, images, seeded

SOURCE = """
from helper import WIDTH
import torch

def net():
    return torch.nn.Linear(WIDTH, 2).eval(), (torch.zeros(1, WIDTH),)

def single():
    return torch.nn.ReLU().eval(), torch.zeros(1, 4)

def listed():
    return torch.nn.ReLU().eval(), [torch.zeros(1, 4)]

def wrong():
    return torch.nn.ReLU()

def empty():
    return torch.nn.ReLU(), ()

def triple():
    return torch.nn.ReLU(), torch.zeros(1, 4), torch.zeros(1, 4)

def numbers():
    return torch.nn.ReLU(), (4, 3.5)

def named():
    return torch.nn.ReLU(), {"x": torch.zeros(1, 4)}

def nothing():
    pass

class Net(torch.nn.Module):
    pass

ready = torch.nn.ReLU()

def failing():
    raise ValueError("no weights\\nsecond line")

def leaving():
    raise SystemExit(3)

def printing():
    print("a word of the model's own")
    return net()
"""


LINES = {
    text: next(number for number, line in enumerate(SOURCE.splitlines(), 1) if text in line)
    for text in ("SystemExit", "no weights")
}
"""Where in the file these texts first stand."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "zoo.py").write_text(SOURCE)
    (tmp_path / "helper.py").write_text("WIDTH = 4\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "unfinished.py").write_text("import torch\nnet = (\n")
    for name in ("zoo", "helper", "broken", "intaglio_user_zoo"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_a_model_prints_stays_off_stdout(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_model("zoo.py:printing")
    assert capsys.readouterr() == ("", "a word of the model's own\n")


def test_a_model_that_exits_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_model("zoo.py:leaving")
    assert str(caught.value) == (
        f"leaving() failed (SystemExit: 3) at zoo.py:{LINES['SystemExit']}: raise SystemExit(3); "
        "it must run without arguments and return (module, example_inputs)"
    )


def test_a_file_and_a_module_give_the_model(folder: Path) -> None:
    for form in (f"{folder}/zoo.py:net", "zoo.py:net", "zoo:net"):
        loaded = load_model(form)
        assert loaded.name == "net"
        assert [tuple(x.shape) for x in loaded.example_inputs] == [(1, 4)]
    assert str(folder) not in sys.path


@pytest.mark.parametrize("name", ["single", "listed"])
def test_one_tensor_or_a_list_will_do(folder: Path, name: str) -> None:
    assert len(load_model(f"zoo.py:{name}").example_inputs) == 1


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        (
            "zoo.py",
            "MODEL 'zoo.py' has no known form; give file.py:callable, package.module:callable, "
            "archive.pt2 or model.onnx",
        ),
        (
            "zoo.py:",
            "MODEL 'zoo.py:' has no known form; give file.py:callable, package.module:callable, "
            "archive.pt2 or model.onnx",
        ),
        ("no.py:net", "no.py: there is no such file; give the path of a Python file"),
        ("no.pt2", "no.pt2: there is no such file; give the path of a .pt2 archive"),
        (
            "nowhere.at:net",
            "nowhere.at: cannot be imported (ModuleNotFoundError: No module named 'nowhere'); run "
            "it with python to see more",
        ),
        (
            "broken.py:net",
            "broken.py: cannot be imported (ZeroDivisionError: division by zero) at broken.py:1: 1 "
            "/ 0; run it with python to see more",
        ),
        (
            "unfinished.py:net",
            "unfinished.py: cannot be imported (SyntaxError: '(' was never closed (unfinished.py, "
            "line 2)) at unfinished.py:2; run it with python to see more",
        ),
        ("zoo.py:nett", "zoo.py: has no callable 'nett'; did you mean 'net'?"),
        (
            "zoo.py:xyz",
            "zoo.py: has no callable 'xyz'; define a function that returns the model",
        ),
        (
            "zoo.py:failing",
            f"failing() failed (ValueError: no weights) at zoo.py:{LINES['no weights']}: raise "
            'ValueError("no weights\\nsecond line"); it must run without arguments and return '
            "(module, example_inputs)",
        ),
        (
            "zoo.py:Net",
            "zoo.py: 'Net' is a torch.nn.Module class, not a function; define a function that "
            "returns (Net().eval(), example_inputs) and name it",
        ),
        (
            "zoo.py:ready",
            "zoo.py: 'ready' is a torch.nn.Module instance, not a function; define a function that "
            "returns (ready.eval(), example_inputs) and name it",
        ),
    ],
)
def test_wrong_forms(folder: Path, form: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_model(form)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("name", "returned"),
    [
        ("wrong", "the module ReLU without example inputs"),
        ("empty", "a module with an empty list of example inputs"),
        ("numbers", "a module with example inputs of type int, float"),
        ("named", "a module with dict as example inputs"),
        ("triple", "tuple of 3 (ReLU, Tensor, Tensor)"),
        ("nothing", "NoneType"),
    ],
)
def test_wrong_results(folder: Path, name: str, returned: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_model(f"zoo.py:{name}")
    assert str(caught.value) == (
        f"{name}() returned {returned}; return (module, example_inputs), a torch.nn.Module and a "
        "tuple of tensors"
    )


def saved(path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(seeded(Residual), (images(1, 3, 8, 8),)), path)
    return path


def test_an_archive_gives_the_same_workload(tmp_path: Path) -> None:
    loaded = load_model(str(saved(tmp_path / "net.pt2")))
    assert loaded.name == "net"
    made = to_workload(loaded.module, loaded.example_inputs)
    direct = to_workload(seeded(Residual), (images(1, 3, 8, 8),))
    assert made.tensors == direct.tensors
    assert [op.name for op in made.ops] == [op.name for op in direct.ops]


class Payload:
    """Leaves a mark when it is unpickled: a stand-in for code in an archive."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("import sys; sys.modules['intaglio_payload'] = sys",)


def poisoned(path: Path) -> Path:
    """A good archive whose example inputs are replaced by a pickle that runs code."""
    good = saved(path.with_suffix(".good"))
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if "sample_inputs" in name:
                content = pickle.dumps(Payload())
            target.writestr(name, content)
    return path


def test_an_archive_never_runs_code_unless_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "intaglio_payload", raising=False)
    path = poisoned(tmp_path / "bad.pt2")
    with pytest.raises(CaptureError) as caught:
        load_model(str(path))
    assert str(caught.value) == (
        f"{path}: reading it would run code stored in it (unpickling); save it with this version "
        "of PyTorch, or pass --trust if you trust its author"
    )
    assert "intaglio_payload" not in sys.modules
    with pytest.raises(CaptureError, match=r"cannot be read as a \.pt2 archive"):
        load_model(str(path), trust=True)
    assert sys.modules.pop("intaglio_payload") is sys


def test_unpickling_works_again_afterwards(tmp_path: Path) -> None:
    with pytest.raises(IntaglioError):
        load_model(str(poisoned(tmp_path / "bad.pt2")))
    assert pickle.loads(pickle.dumps({1: 2})) == {1: 2}


def test_dynamic_shapes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "dynamic.pt2"
    batch = torch.export.Dim("batch", min=1, max=8)
    program = torch.export.export(
        torch.nn.ReLU().eval(), (images(2, 4),), dynamic_shapes=({0: batch},)
    )
    torch.export.save(program, path)
    with pytest.raises(CaptureError) as caught:
        load_model(str(path))
    assert str(caught.value) == (
        f"{path}: holds dynamic shapes; export the model with fixed shapes"
    )


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.pt2"
    path.write_text("text")
    with pytest.raises(CaptureError) as caught:
        load_model(str(path))
    assert str(caught.value) == (
        f"{path}: cannot be read as a .pt2 archive (BadZipFile: File is not a zip file); save it "
        "with torch.export.save"
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.txt", "text")
    with pytest.raises(CaptureError, match=r"cannot be read as a \.pt2 archive"):
        load_model(str(path))
