"""A fault in each unit of the hardware is traced to the unit and the instruction where it acts.

All faults are in one mutated source; the limit of the watchdog, which no job here reaches, says
which of them is at work, so that the hardware is built once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from intaglio.errors import VerificationError
from intaglio.hw.npu_model import DRIVER
from intaglio.hw.sources import rtl_sources
from intaglio.hw.verilator import Model
from intaglio.sim import verify as proof
from intaglio.sim.divergence import IN_PROGRAM
from intaglio.sim.localise import WAVEFORM
from intaglio.sim.location import Location
from intaglio.sim.verify import Bench, verify
from intaglio.sim.verify_report import VerifyReport
from intaglio.templates.deployment import whole
from intaglio.templates.npu.isa import Instruction, decode, encode
from intaglio.templates.npu.program import Program
from tests.rtl.faults import with_fault
from tests.sim import handmade

pytestmark = [pytest.mark.rtl, pytest.mark.slow]

SIZES = (
    ("Lanes", handmade.DESIGN.lanes),
    ("Groups", handmade.DESIGN.groups),
    ("ActWords", handmade.DESIGN.activation_words),
    ("WeightWords", handmade.DESIGN.weight_words),
    ("AccWords", handmade.DESIGN.accumulator_words),
    ("MemBytes", handmade.DESIGN.memory_bytes_per_cycle),
)
LOAD, COMPUTE, DRAIN, STORE, POOL = 1, 2, 3, 4, 5
SOUND = 50_000
"""The watchdog's limit without a fault; fault number k is at work with SOUND + 1 + k."""


@dataclass(frozen=True)
class Fault:
    """A change of one file, and the instruction, unit and stage in which it acts first.

    In `new`, FAULT stands for "this fault is at work".
    """

    file: str
    old: str
    new: str
    index: int
    unit: str
    stage: str


FAULTS = {
    "load addresses": Fault(
        "npu_box_words.sv",
        "row_addr_q <= row_addr_next;",
        "row_addr_q <= FAULT ? row_addr_q : row_addr_next;",
        LOAD,
        "load",
        "buffer addresses",
    ),
    "fill value": Fault(
        "npu_load.sv",
        "{Lanes{fill_q}}",
        "{Lanes{FAULT ? 8'h11 : fill_q}}",
        LOAD,
        "load",
        "data from memory",
    ),
    "array addresses": Fault(
        "npu_compute.sv",
        "if (fx_last_q) fy_base_q",
        "if (FAULT ? fy_last_q : fx_last_q) fy_base_q",
        COMPUTE,
        "compute",
        "activation addresses",
    ),
    "weight fill": Fault(
        "npu_compute.sv",
        "f_row_o + RowBits'(1)",
        "f_row_o + RowBits'(!(FAULT && f_row_o == RowBits'(9)))",
        COMPUTE,
        "compute",
        "weight addresses",
    ),
    "multiplier": Fault(
        "npu_dot.sv",
        "$signed(active_q[8*i +: 8])",
        "$signed(active_q[8*i +: 8] ^ 8'(FAULT))",
        COMPUTE,
        "compute",
        "multipliers and accumulators",
    ),
    "tokens that get lost": Fault(
        "npu_tokens.sv",
        " = push_i[Units*f + t];",
        " = push_i[Units*f + t] && !FAULT;",
        COMPUTE,
        "compute",
        "number of writes",
    ),
    "requantiser": Fault(
        "npu_lane.sv",
        "$signed(main_q + bias_q)",
        "$signed(FAULT ? main_q - bias_q : main_q + bias_q)",
        DRAIN,
        "vector",
        "requantisation",
    ),
    "accumulator addresses": Fault(
        "npu_window.sv",
        "acc_addr_o + AccAddr'(1)",
        "acc_addr_o + (FAULT ? AccAddr'(2) : AccAddr'(1))",
        DRAIN,
        "vector",
        "accumulator addresses",
    ),
    "output addresses": Fault(
        "npu_vector.sv",
        ".data_i(out_addr)",
        ".data_i(out_addr ^ ActAddr'(FAULT))",
        DRAIN,
        "vector",
        "output addresses",
    ),
    "window addresses": Fault(
        "npu_window.sv",
        "if (inner_last_q) outer_base_q <= next_element;",
        "if (inner_last_q && !FAULT) outer_base_q <= next_element;",
        POOL,
        "window",
        "window and requantisation",
    ),
    "store addresses": Fault(
        "npu_writer.sv",
        "awaddr_o <= burst_addr;",
        "awaddr_o <= burst_addr + (FAULT ? AddrBits'(MemBytes) : '0);",
        STORE,
        "store",
        "memory addresses",
    ),
    "store reads": Fault(
        "npu_store.sv",
        "= read_addr[ActAddrBits-1:0];",
        "= read_addr[ActAddrBits-1:0] ^ ActAddrBits'(FAULT);",
        STORE,
        "store",
        "data from the buffer",
    ),
}
Run = Callable[..., VerifyReport]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """The hardware with all faults in it."""
    folder = tmp_path_factory.mktemp("faults")
    files = {path.name: path.read_text() for path in rtl_sources("npu")}
    for number, fault in enumerate(FAULTS.values()):
        at_work = f"(npu_top.u_control.watchdog_q == 32'd{SOUND + 1 + number})"
        new = fault.new.replace("FAULT", at_work)
        files[fault.file] = with_fault(fault.file, files[fault.file], fault.old, new)
    for name, text in files.items():
        (folder / name).write_text(text)
    return tuple(folder / name for name in files)


@pytest.fixture
def run(
    sources: tuple[Path, ...], model_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Verifies with one fault, or none, and traces what is wrong."""

    def verify_with(
        fault: str | None, program: Program | None = None, stall_permille: int = 0
    ) -> VerifyReport:
        number = SOUND if fault is None else SOUND + 1 + list(FAULTS).index(fault)
        monkeypatch.setattr(proof, "WATCHDOG_CYCLES", number)
        hardware = Model(sources, "npu_top", DRIVER, SIZES)
        made = program or handmade.program()
        bench = Bench(whole(handmade.workload(), made), hardware, stall_permille)
        return verify(bench, images=2, seed=1, cache=model_cache, diagnosis=tmp_path)

    return verify_with


def _location(run: Run, fault: str) -> Location | str:
    """Where `fault` is found; its text when it stopped the verification."""
    try:
        location = run(fault).location
    except VerificationError as error:
        (note,) = error.__notes__
        return str(note)
    assert location is not None
    return location


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_pinned_to_unit_and_instruction(name: str, run: Run, tmp_path: Path) -> None:
    fault = FAULTS[name]
    layer = "pool" if fault.index == POOL else "conv"
    text = str(_location(run, name))
    assert text.startswith(
        f"located in unit {fault.unit} ({fault.stage}), layer '{layer}', image 0"
    )
    assert f"\n  instruction {fault.index} of 7, {fault.unit} instruction " in text
    assert f"\n  waveform: {tmp_path / WAVEFORM} (cycles " in text
    assert (tmp_path / WAVEFORM).is_file()
    assert len(text.splitlines()) < 24


def test_a_wrong_requantisation_shows_a_right_accumulator(run: Run) -> None:
    report = run("requantiser")
    assert report.first is not None
    location = report.location
    assert location is not None
    assert (location.expected, location.got) == (report.first.expected, report.first.got)
    assert location.accumulator is not None
    assert location.accumulator[0] == location.accumulator[1]
    assert location.position == "pixel (0, 0) of its tile, lane 0"
    stored = json.loads(json.dumps(report.to_dict()))
    assert stored["location"]["instruction"].startswith("0 drain pop=load+compute push=store")
    assert str(location) in str(report)


def test_the_waveform_holds_the_cycles_around_the_fault(run: Run, tmp_path: Path) -> None:
    location = run("requantiser").location
    assert location is not None
    assert location.window is not None
    assert location.cycle is not None
    first, last = location.window
    assert first < location.cycle < last
    text = (tmp_path / WAVEFORM).read_text()
    times = [int(time) for time in re.findall(r"^#(\d+)$", text, re.MULTILINE)]
    assert (times[0], times[-1]) == (10 * first, 10 * last + 5)
    signal = re.search(r"\$var wire +32 (\S+) vw_data ", text)
    assert signal is not None
    at_fault = text[: text.index(f"#{10 * location.cycle + 5}\n")]
    value = re.findall(rf"^b([01]+) {re.escape(signal[1])}$", at_fault, re.MULTILINE)[-1]
    assert location.got is not None
    assert int(value, 2) & 0xFF == location.got & 0xFF


def test_the_fault_is_the_same_under_random_stalls(run: Run) -> None:
    location = run("multiplier", stall_permille=300).location
    assert location is not None
    assert (location.index, location.stage) == (COMPUTE, "multipliers and accumulators")


def test_sound_hardware_leaves_no_trace(run: Run, tmp_path: Path) -> None:
    (tmp_path / WAVEFORM).write_text("of an earlier run")
    report = run(None)
    assert report.passed
    assert report.location is None
    assert report.to_dict()["location"] is None
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_program_is_told_from_wrong_hardware(run: Run) -> None:
    program = handmade.program()
    items = list(decode(program.instructions))
    old = items[DRAIN]
    fields = {**old.fields, "hi": 10}
    items[DRAIN] = Instruction(old.opcode, fields, old.pop, old.push, old.layer, old.mark)
    report = run(None, replace(program, instructions=encode(items)))
    assert report.first is not None
    location = report.location
    assert location is not None
    assert (location.index, location.unit, location.stage) == (DRAIN, "vector", IN_PROGRAM)
    assert (location.cycle, location.waveform) == (None, None)
    assert location.what.startswith("the hardware does what the program says and makes byte 0x")
