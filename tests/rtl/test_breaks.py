"""The cocotb tests can fail: a fault in a copy of the RTL turns its module's tests red."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.rtl.cocotb_runner import run_block
from tests.rtl.faults import faulty_sources
from tests.rtl.test_blocks import BLOCKS, CONNECTIONS

pytestmark = [pytest.mark.rtl, pytest.mark.slow]


@dataclass(frozen=True, slots=True)
class Fault:
    """Text that occurs once in the module's file, and the faulty text in its place."""

    text: str
    instead: str


BREAKS = {
    "axi_burst_split": Fault(
        "first_page_left > (PageBits + 1)'(Most) ? 9'(Most) : 9'(first_page_left)", "9'(Most)"
    ),
    "delay_line": Fault(
        "stages_q[(Cycles-1)*Width +: Width]", "stages_q[(Cycles-2)*Width +: Width]"
    ),
    "fifo": Fault("fetch || (room_q && !(push && last_place))", "1'b1"),
    "ram_1r1w": Fault(
        "if (read_en_i) read_data_o <= mem[read_addr_i];\n      if (write_en_i) mem[write_addr_i] "
        "<= write_data_i;\n    end\n  end else",
        "read_data_o <= mem[read_addr_i];\n      if (write_en_i) mem[write_addr_i] "
        "<= write_data_i;\n    end\n  end else",
    ),
    "ram_2p": Fault("else b_data_o <= mem[b_addr_i];", "b_data_o <= mem[b_addr_i];"),
    "register_slice": Fault("if (!spare_valid_q) spare_q <= data_i;", "spare_q <= data_i;"),
    "stream_narrow": Fault("else if (ready_i) data_q", "else data_q"),
    "stream_widen": Fault("count_q <= CountBits'(take);", "count_q <= '0;"),
    "npu_accumulators": Fault("(overwrite_q[1] ?", "(overwrite_q[0] ?"),
    "npu_act_buffer": Fault("lw_addr_i[0] == sr_addr_i[0]", "lw_addr_i == sr_addr_i"),
    "npu_array": Fault("vector_signed_i & vector_i[8*i+7]", "vector_signed_i & vector_i[7]"),
    "npu_box_runs": Fault("row_left_q   <= row_count_q;\n      plane_left_q", "plane_left_q"),
    "npu_box_words": Fault("col_after_q != inner_col_end_q", "1'b1"),
    "npu_compute": Fault("fill_accumulate_q <= 1'b1;", ""),
    "npu_control": Fault("if (wready_o) wstrb_q <= wstrb_i;", "wstrb_q <= wstrb_i;"),
    "npu_core": Fault(".lw_addr_i       (lw_addr_i)", ".lw_addr_i       (sr_addr_i)"),
    "npu_dma": Fault("reader_idle && writer_idle", "1'b1"),
    "npu_dot": Fault("if (swap_i) active_q <= shadow_q;", "active_q <= shadow_q;"),
    "npu_fetch": Fault("held_q <= 5'(Ahead - Chunk)", "held_q <= 5'(Ahead)"),
    "npu_gather": Fault("retire_valid && empty;", "retire_valid;"),
    "npu_issue": Fault("&& missing_o == '0 && header_room", "&& missing_o == '0"),
    "npu_lane": Fault("48'(side_q) : b + 48'(side_q)", "48'(side_q) : b"),
    "npu_load": Fault("&& wants_word && !word_valid;", "&& wants_word;"),
    "npu_marks": Fault("valid_i[u-1:0] == '0", "!valid_i[u-1]"),
    "npu_norm": Fault("read_row = words_start ? '0 : next_row;", "read_row = next_row;"),
    "npu_norm_results": Fault(
        "high_write_q <= low_write_q && wide_i;", "high_write_q <= low_write_q;"
    ),
    "npu_power": Fault("half_q <= 41'd1 << (shift_i - 6'd1);", "half_q <= '0;"),
    "npu_program": Fault(".full_i          (full[Units*u +: Units])", ".full_i          ('0)"),
    "npu_reader": Fault("!fetch_valid && near_q", "near_q"),
    "npu_reads": Fault(".valid_i(walk_q)", ".valid_i(1'b1)"),
    "npu_reciprocal": Fault("? 47'd1 << 30 : sum_i;", "? 47'd1 << 31 : sum_i;"),
    "npu_root": Fault("if (wide_q < (64'd1 << fraction_i)) wide_q", "wide_q"),
    "npu_row_sums": Fault("end else if (slice_q) begin", "end else begin"),
    "npu_row_words": Fault("row_block_q <= arrived_row;", "row_block_q <= 1'b1;"),
    "npu_softmax": Fault("kept_q <= kept[p];", "kept_q <= 1'b1;"),
    "npu_softmax_scale": Fault("known_q[21*odd_i +: 21];", "known_q[20:0];"),
    "npu_softmax_walks": Fault("maximum_known_q && !summing_q", "maximum_known_q"),
    "npu_standard": Fault("60'((61'd1 << shift) >> 1)", "60'd0"),
    "npu_store": Fault("act_valid_o = read_valid && !full_q;", "act_valid_o = read_valid;"),
    "npu_taps": Fault("assign row = write_first_i ? '0 : row_q;", "assign row = row_q;"),
    "npu_tokens": Fault("- 8'(pop);", "- 8'(pop && !push);"),
    "npu_top": Fault(".unit_rst_ni        (unit_rst_n)", ".unit_rst_ni        (rst_ni)"),
    "npu_vector": Fault("emit_o = step && emit;", "emit_o = state_q[StIssue] && emit;"),
    "npu_vector_queue": Fault("instr_ready_o = &ready;", "instr_ready_o = ready[0];"),
    "npu_weight_buffer": Fault("vr_slice_q <= vr_slice;", "if (vr_valid_i) vr_slice_q <= '0;"),
    "npu_window": Fault("if (window_last && x_last_q) y_base_q", "if (window_last) y_base_q"),
    "npu_writer": Fault("wstrb_o <= {MemBytes{!flush_i}};", "wstrb_o <= '1;"),
}


def test_every_module_has_a_break() -> None:
    assert set(BREAKS) == {block.name for block in BLOCKS} | CONNECTIONS


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_module_turns_red(name: str, tmp_path: Path) -> None:
    tested = "npu_top" if name in CONNECTIONS else name
    block = next(block for block in BLOCKS if block.name == tested)
    fault = BREAKS[name]
    sources = faulty_sources(tmp_path, f"{name}.sv", fault.text, fault.instead)
    assert run_block(block, tmp_path, sources, failures=1).failed
