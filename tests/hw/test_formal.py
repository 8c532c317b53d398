"""Proofs about the RTL: every one holds, and fails where the RTL is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from intaglio.errors import ToolError
from intaglio.hw import yosys
from intaglio.hw.formal import FORMAL, PROOFS, Proof, prove
from tests.rtl.faults import faulty_sources

pytestmark = pytest.mark.rtl
COUNTERS = [proof for proof in PROOFS if "Counter" in proof.parameters]
SLOW = COUNTERS[1:-1]
LARGE = (
    Proof("fifo_proof", "fifo", "", {"Width": 8, "Depth": 8}),
    Proof("slice_proof", "register_slice", "", {"Width": 64}),
    Proof("narrow_proof", "stream_narrow", "", {"OutBits": 8, "Ratio": 16}),
    Proof("widen_proof", "stream_widen", "", {"InBits": 8, "Ratio": 16}),
    Proof("burst_proof", "axi_burst_split", "", {"AddrBits": 40, "RunBits": 28, "BeatBytes": 64}),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Text of a block, the wrong text in its place, and the assertion that it breaks."""

    top: str
    block: str
    text: str
    instead: str
    assertion: str


FAULTS = (
    Fault("fifo_proof", "fifo", "PtrBits'(Depth - 1);", "PtrBits'(Depth);", "u_order.bounded"),
    Fault(
        "fifo_proof", "fifo", "fetch || (valid_q && !ready_i)", "fetch", "u_order.offered"
    ),
    Fault(
        "slice_proof", "register_slice", "&& (valid_i || spare_valid_q)", "&& spare_valid_q",
        "u_order.in_order",
    ),
    Fault(
        "narrow_proof", "stream_narrow", "else if (ready_i) data_q", "else data_q",
        "u_order.in_order",
    ),
    Fault("widen_proof", "stream_widen", "CountBits'(take);", "'0;", "u_order.offered"),
    Fault("delay_proof", "delay_line", "stages_q[(Cycles-1)*Width +:", "stages_q[0 +:", "delayed"),
    Fault(
        "burst_proof", "axi_burst_split",
        "first_page_left > (PageBits + 1)'(Most) ? 9'(Most) : 9'(first_page_left)", "9'(Most)",
        "no_beat_added",
    ),
    Fault(
        "tokens_proof", "npu_tokens", "some_q && !(pop && count_q == 8'd1)",
        "some_q && !pop", "available_when_there",
    ),
    Fault(
        "issue_proof", "npu_issue", "header_valid && (retire_push & full_i) == '0",
        "header_valid", "pushes_where_room_is",
    ),
    Fault(
        "issue_proof", "npu_issue", "(!retire_mark || mark_ready_i)\n", "1'b1\n", "own_mark",
    ),
    Fault(
        "deadlock_proof", "npu_issue", "missing_o == '0 && header_room",
        "head_pop == '0 && header_room", "lemma_progress",
    ),
    Fault(
        "deadlock_proof", "npu_issue", "header_ready ? retire_push : '0;",
        "(header_ready && !retire_sync) ? retire_push : '0;", "oldest_finds_its_token",
    ),
    Fault(
        "reader_proof", "npu_reader", "room && !fetch_valid && near_q", "room && near_q",
        "lemma_newest",
    ),
    Fault(
        "reader_proof", "npu_reader", ".data_i  (take_load),", ".data_i  (take_fetch),",
        "lemma_newest",
    ),
    Fault(
        "act_buffer_proof", "npu_act_buffer", "lw_addr_i[0] == sr_addr_i[0]",
        "lw_addr_i == sr_addr_i", "sr_reads",
    ),
    # A carry that is lost where no simulation gets to.
    Fault(
        "counters_proof", "npu_control", "count_c_q + 64'(step_q[c])",
        "{count_c_q[63:40], 40'(count_c_q[39:0] + 40'(step_q[c]))}", "counts",
    ),
)  # fmt: skip


def _name(proof: Proof) -> str:
    return "-".join((proof.top, *map(str, proof.parameters.values())))


@pytest.mark.parametrize(
    "proof",
    [
        *(proof for proof in PROOFS if proof not in SLOW),
        *(pytest.param(proof, marks=pytest.mark.slow) for proof in (*SLOW, *LARGE)),
    ],
    ids=_name,
)
def test_what_is_claimed_is_proven(proof: Proof) -> None:
    outcome = prove(proof.top, proof.parameters, induction=proof.induction)
    assert (outcome.verdict, outcome.assertion, outcome.cycle) == ("proven", "", None)
    assert outcome.assertions
    assert outcome.registers > 0


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.top}-{fault.assertion}")
def test_a_wrong_block_fails_its_proof(fault: Fault, tmp_path: Path) -> None:
    faulty = faulty_sources(tmp_path, f"{fault.block}.sv", fault.text, fault.instead)
    sources = (*faulty, *sorted(FORMAL.glob("*.sv")))
    proof = next(proof for proof in PROOFS if proof.top == fault.top)
    outcome = prove(fault.top, sources=sources, induction=proof.induction)
    assert (outcome.verdict, outcome.assertion) == ("failed", fault.assertion)
    assert outcome.cycle is not None


def test_every_proof_has_a_fault_and_every_top_a_proof() -> None:
    tops = {path.stem for path in FORMAL.glob("*_proof.sv")}
    assert tops == {proof.top for proof in PROOFS} == {fault.top for fault in FAULTS}


def test_too_little_time_is_no_proof() -> None:
    assert prove("fifo_proof", {"Width": 32, "Depth": 64}, seconds=1).verdict == "undecided"


def test_sources_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "wrong.sv"
    source.write_text("module wrong_proof (input logic clk_i);\n  missing u_dut ();\nendmodule\n")
    with pytest.raises(ToolError) as caught:
        prove("wrong_proof", sources=[source])
    assert str(caught.value) == (
        "'wrong_proof' cannot be proven: wrong.sv:2: ERROR: unknown module 'missing'; mend its "
        "sources"
    )


def test_without_the_tools_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yosys, "installed", lambda: False)
    with pytest.raises(ToolError) as caught:
        prove("fifo_proof")
    assert str(caught.value) == yosys.MISSING
