"""`NpuDesign`: legality at construction, and designs as files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.errors import DesignError, UsageError
from intaglio.templates.npu.design import NpuDesign


def test_derived_sizes_of_the_default_design() -> None:
    design = NpuDesign()
    assert (design.groups, design.word_bytes, design.multipliers) == (1, 16, 256)
    assert (design.activation_words, design.weight_words) == (8192, 4096)
    assert design.accumulator_words == 512
    assert design.window_multipliers == 80


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"rows": 12}, "rows is 12, legal is 4 or 8 or 16 or 32 or 64"),
        ({"rows": 8, "lanes": 4}, "lanes is 4, legal is 8"),
        ({"vector_lanes": 8}, "vector_lanes is 8, legal is 16"),
        ({"window_columns": 9}, "window_columns is 9, legal is 1 to 8"),
        ({"cols": 8}, "cols is 8, legal is 16 or 32 or 64"),
        ({"activation_bits": 4}, "activation_bits is 4, legal is 8"),
        ({"memory_bytes_per_cycle": 32}, "memory_bytes_per_cycle is 32, legal is 4 or 8 or 16"),
        ({"memory_latency_cycles": 0}, "memory_latency_cycles is 0, legal is 1 to 4096"),
        ({"clock_mhz": 0}, "clock_mhz is 0, legal is 1 to 10000"),
        (
            {"accumulator_buffer_kib": 1},
            "accumulator_buffer_kib is 1, legal is 16 to 32768 words of cols x 32 bits a half",
        ),
    ],
)
def test_an_illegal_value_is_refused(values: dict[str, int], sentence: str) -> None:
    with pytest.raises(DesignError) as caught:
        NpuDesign(**values)  # type: ignore[arg-type]
    assert str(caught.value) == f"design 'npu': {sentence}"


def test_lanes_follow_rows_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text("rows = 8\ncols = 32\nmemory_bytes_per_cycle = 8\n")
    design = NpuDesign.from_toml(path)
    assert (design.name, design.lanes, design.vector_lanes, design.groups) == ("small", 8, 8, 4)
    assert NpuDesign.from_dict(design.to_dict()) == design


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("row = 8", "unknown key 'row'; did you mean 'rows'?"),
        ("rows = 'eight'", "rows is 'eight', legal is a whole number"),
        ("rows = 8.0", "rows is 8.0, legal is a whole number"),
        ("rows = true", "rows is True, legal is a whole number"),
        ("rows = [8]", "rows is [8], legal is a whole number"),
        ("clock_mhz = 'fast'", "clock_mhz is 'fast', legal is a number"),
        ("name = 3", "name is 3, legal is a text"),
        ("rows = 7", "rows is 7, legal is 4 or 8 or 16 or 32 or 64"),
        ("row_lanes = 3", "row_lanes is 3, legal is 0 or 1 or 2 or 4 or 8"),
        ("clock_mhz = nan\nname = 'a: b'", "clock_mhz is nan, legal is 1 to 10000"),
    ],
)
def test_a_wrong_design_file_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        NpuDesign.from_toml(path)
    assert str(caught.value) == f"{path}: {sentence}"


def test_a_key_like_nothing_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        NpuDesign.from_dict({"zzz": 1})
    assert str(caught.value).startswith("design: unknown key 'zzz'; known are rows, cols, lanes")


def test_a_missing_file_and_a_broken_file(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    with pytest.raises(UsageError) as caught:
        NpuDesign.from_toml(missing)
    assert str(caught.value) == f"cannot read design file '{missing}': No such file or directory"
    broken = tmp_path / "broken.toml"
    broken.write_text("rows = = 4")
    with pytest.raises(UsageError) as caught:
        NpuDesign.from_toml(broken)
    assert str(caught.value).startswith(f"design file '{broken}' is not TOML: ")


@given(st.fixed_dictionaries({name: st.sampled_from(v) for name, v in NpuDesign.space().items()}))
def test_every_point_of_the_space_is_repaired_to_a_legal_design(values: dict[str, int]) -> None:
    design = NpuDesign.repaired(values)
    assert (design.rows, design.activation_buffer_kib) == (
        values["rows"],
        values["activation_buffer_kib"],
    )
    assert design.cols == max(values["rows"], values["cols"])
    assert NpuDesign.repaired(design.to_dict()) == design


def test_a_legal_design_needs_no_repair() -> None:
    assert NpuDesign.repaired({}) == NpuDesign()
    assert NpuDesign.repaired({"rows": 8, "clock_mhz": 50.0}).clock_mhz == 50.0


def test_an_illegal_field_outside_the_space_is_refused() -> None:
    with pytest.raises(DesignError) as caught:
        NpuDesign.repaired({"clock_mhz": 0.0})
    assert str(caught.value) == "design 'npu': clock_mhz is 0.0, legal is 1 to 10000"


def test_a_design_file_of_other_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bytes.toml"
    path.write_bytes(b"rows = 8 # \xff")
    with pytest.raises(UsageError) as caught:
        NpuDesign.from_toml(path)
    assert str(caught.value).startswith(f"design file '{path}' is not TOML: ")
