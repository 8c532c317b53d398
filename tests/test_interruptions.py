"""Full disks, Ctrl-C, kill -9 and rivals: nothing half-written is read back, the next run works."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

import intaglio
from intaglio import cli
from intaglio.hw import store
from intaglio.sim import verify as proof
from intaglio.templates import artifact as artifacts
from tests.nets import tiny

TINY = f"{Path(__file__).with_name('nets.py')}:tiny"
DESIGN = intaglio.NpuDesign(
    name="least",
    rows=4,
    cols=4,
    lanes=4,
    vector_lanes=4,
    activation_buffer_kib=4,
    weight_buffer_kib=2,
    accumulator_buffer_kib=1,
    memory_bytes_per_cycle=4,
)
PATIENCE_SECONDS = 300
HELD = """
import sys
from intaglio import cli
from intaglio.templates import artifact
emit = artifact.emit_hardware
def held(*arguments):
    files = emit(*arguments)
    print("half-way", flush=True)
    sys.stdin.readline()
    return files
artifact.emit_hardware = held
sys.exit(cli.main(sys.argv[1:]))
"""
"""A command line that says when an artifact is half-written, and waits for a line to go on."""


def _home_variables(home: Path | None) -> dict[str, str]:
    return {"HOME": str(home), "XDG_CACHE_HOME": f"{home}/.cache"} if home else {}


@contextmanager
def started(*words: str | Path, home: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process of its own session, whose whole session ends with the block."""
    process = subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **_home_variables(home)},
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            with_all_children(process, signal.SIGKILL)


def with_all_children(process: subprocess.Popen[str], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def end(process: subprocess.Popen[str], entered: str = "") -> tuple[int, str]:
    """The exit code and standard error of a process that ends by itself."""
    _, err = process.communicate(entered, timeout=PATIENCE_SECONDS)
    return process.returncode, err


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Until something happens while `process` is alive."""
    limit = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.01)


def compiling(output: Path, *words: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """A `compile` that stops when it has written a part of its artifact."""
    return started("-c", HELD, "compile", TINY, "-o", output, *words)


def wait_half_way(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "half-way\n"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_interrupted_compile_leaves_nothing(tmp_path: Path) -> None:
    with compiling(tmp_path / "out") as process:
        wait_half_way(process)
        assert names(tmp_path) != []
        process.send_signal(signal.SIGINT)
        assert end(process) == (130, "error: interrupted\n")
    assert names(tmp_path) == []


@pytest.mark.slow
def test_a_killed_compile_is_never_read_and_the_next_one_works(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with compiling(output) as process:
        wait_half_way(process)
        process.kill()
        process.wait(PATIENCE_SECONDS)
    left = names(tmp_path)
    assert [name.startswith(".out.") for name in left] == [True]
    assert not output.exists()
    assert cli.main(["compile", TINY, "-o", str(output)]) == 0
    assert names(tmp_path) == ["out"]
    assert artifacts.Artifact.open(output).workload.name == "tiny"


def test_a_killed_replacement_leaves_the_old_artifact(tmp_path: Path) -> None:
    old = intaglio.compile(*tiny(), output=tmp_path / "out", name="old")
    with compiling(tmp_path / "out", "--force") as process:
        wait_half_way(process)
        process.kill()
        process.wait(PATIENCE_SECONDS)
    assert artifacts.Artifact.open(old.directory).workload.name == "old"


@pytest.mark.slow
@pytest.mark.parametrize("force", [False, True])
def test_two_compiles_to_one_output(tmp_path: Path, force: bool) -> None:
    """The later of two that write at one time is refused, or replaces the earlier one whole."""
    output, words = tmp_path / "out", ("--force",) if force else ()
    with compiling(output, *words) as first, compiling(output, *words) as second:
        wait_half_way(first)
        wait_half_way(second)
        assert end(first, "\n")[0] == 0
        code, err = end(second, "\n")
    if force:
        assert code == 0
    else:
        assert (code, err) == (
            2,
            f"error: output '{output}' exists; name another one or add --force to replace it\n",
        )
    assert names(tmp_path) == ["out"]
    assert artifacts.Artifact.open(output).workload.name == "tiny"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False, timeout=60).returncode:
        pytest.skip("a small file system cannot be mounted; run as root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True, timeout=60)


def refusal(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """The sentence of a command line that exits with 1."""
    capsys.readouterr()
    assert cli.main([str(word) for word in words]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_a_full_disk_stops_compile(small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = small_disk / "out"
    assert refusal(capsys, "compile", TINY, "-o", output) == (
        f"error: cannot write output '{output}': No space left on device; make room there or "
        "name another place\n"
    )
    assert names(small_disk) == []


def test_a_write_that_fails_stops_compile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(artifacts, "emit_hardware", full)
    assert refusal(capsys, "compile", TINY, "-o", tmp_path / "out") == (
        f"error: cannot write output '{tmp_path}/out': No space left on device; make room there "
        "or name another place\n"
    )
    assert names(tmp_path) == []


def test_a_full_disk_stops_the_trace(
    small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = intaglio.compile(*tiny(), output=tmp_path / "out")
    (small_disk / "filler").write_bytes(bytes(256 * 1024))
    trace = small_disk / "trace.json"
    assert refusal(capsys, "simulate", made.directory, "--trace", trace) == (
        f"error: cannot write '{trace}': No space left on device; make room there or name "
        "another place\n"
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact whose hardware builds quickly."""
    folder = tmp_path_factory.mktemp("made") / "out"
    return intaglio.compile(*tiny(), design=DESIGN, output=folder, name="tiny").directory


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose cache is empty at first and holds the built model after the first test."""
    return tmp_path_factory.mktemp("home")


def cache(home: Path) -> Path:
    return home / ".cache" / "intaglio" / "verilator"


def whole(home: Path) -> list[str]:
    """The intact entries of a cache, in which nothing else but locks may be."""
    entries = [path for path in cache(home).iterdir() if path.suffix not in (".lock", ".use")]
    assert all(store.intact(path) for path in entries)
    return sorted(path.name for path in entries)


def translated(home: Path) -> bool:
    """Whether a build has come to compiling."""
    return any(cache(home).glob("*.build-*/work/*.json"))


def verify(made: Path, images: int = 1) -> tuple[str | Path, ...]:
    return "-m", "intaglio", "verify", made, "--images", str(images)


@pytest.mark.slow
@pytest.mark.rtl
def test_stopped_builds_are_never_used(made: Path, home: Path) -> None:
    """Ctrl-C removes what it built, kill -9 leaves it to the next run; two of those build once."""
    with started(*verify(made), home=home) as process:
        wait_until(lambda: translated(home), process)
        with_all_children(process, signal.SIGINT)
        assert end(process) == (130, "error: interrupted\n")
    assert not translated(home)
    with started(*verify(made), home=home) as process:
        wait_until(lambda: translated(home), process)
        process.kill()
        process.wait(PATIENCE_SECONDS)
    assert translated(home)
    with started(*verify(made), home=home) as one, started(*verify(made), home=home) as two:
        assert (end(one), end(two)) == ((0, ""), (0, ""))
    assert len(whole(home)) == 2
    assert json.loads((made / "verify.json").read_text())["mismatches"] == 0


@pytest.mark.slow
@pytest.mark.rtl
def test_an_interrupted_build_ends_at_once(made: Path, tmp_path: Path) -> None:
    """The signal goes to the process alone; it ends its compilers and waits for none."""
    with started(*verify(made), home=tmp_path) as process:
        wait_until(lambda: compiles(process), process)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert end(process) == (130, "error: interrupted\n")
        assert time.monotonic() - began < 5
        assert not compiles(process)
    assert whole(tmp_path) == []


def compiles(process: subprocess.Popen[str]) -> bool:
    """Whether a C++ compiler is at work in the session of `process`."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
            fields = rest.split()
            if name == "cc1plus" and fields[3] == str(process.pid) and fields[0] != "Z":
                return True
    return False


@pytest.mark.slow
@pytest.mark.rtl
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda s: s.name)
def test_a_stopped_run_leaves_no_result(made: Path, home: Path, number: int) -> None:
    with started(*verify(made), home=home) as process:
        assert end(process) == (0, "")
    entries, before = whole(home), (made / "verify.json").read_bytes()
    with started(*verify(made, images=20_000), home=home) as process:
        wait_until(lambda: runs(process), process)
        process.send_signal(number)
        code, err = end(process)
    assert (code, err) == ((130, "error: interrupted\n") if number == signal.SIGINT else (-9, ""))
    assert (made / "verify.json").read_bytes() == before
    assert whole(home) == entries
    assert [name for name in names(made) if name.startswith(".")] == []
    with started(*verify(made), home=home) as process:
        assert end(process) == (0, "")


def runs(process: subprocess.Popen[str]) -> bool:
    """Whether a process has loaded the hardware model."""
    return "model.so" in Path(f"/proc/{process.pid}/maps").read_text()


@pytest.mark.slow
@pytest.mark.rtl
def test_a_full_disk_stops_verify(made: Path, home: Path, small_disk: Path) -> None:
    with started(*verify(made), home=small_disk) as process:
        code, err = end(process)
    assert (code, err) == (
        1,
        f"error: cannot write the cache folder '{cache(small_disk)}': No space left on device; "
        "make room there, or set XDG_CACHE_HOME to another folder\n",
    )
    assert whole(small_disk) == []


def test_verify_does_not_start_where_it_cannot_leave_its_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = intaglio.compile(*tiny(), output=tmp_path / "out")
    began: list[object] = []

    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(proof, "verify", lambda *_, **__: began.append(1))
    assert refusal(capsys, "verify", made.directory) == (
        f"error: cannot write '{made.directory}/verify.json': Read-only file system; allow "
        "writing there or name another place\n"
    )
    assert began == []


@pytest.mark.slow
@pytest.mark.rtl
def test_a_full_disk_keeps_the_earlier_result(home: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=2m", small_disk], check=True, timeout=60)
    made = intaglio.compile(*tiny(), design=DESIGN, output=small_disk / "out", name="tiny")
    with started(*verify(made.directory), home=home) as process:
        assert end(process) == (0, "")
    before = (made.directory / "verify.json").read_bytes()
    with (small_disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(1024))
    with started(*verify(made.directory, images=2), home=home) as process:
        assert end(process) == (
            1,
            f"error: cannot write '{made.directory}/verify.json': No space left on device; make "
            "room there or name another place\n",
        )
    assert (made.directory / "verify.json").read_bytes() == before
    assert [name for name in names(made.directory) if name.startswith(".")] == []
