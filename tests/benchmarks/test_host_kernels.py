"""The benchmark of the host's kernels compares both forms, and its table is complete."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

pytest.importorskip("tvm", reason="needs the extra tvm")

from benchmarks import host_kernels
from benchmarks.host_kernels import Case, Figures


@pytest.mark.parametrize(
    "case",
    [
        Case("island", "Host", host_kernels.volume, (1, 8, 2, 6, 8)),
        Case("layer", "MatMul", lambda: nn.Linear(32, 16), (1, 4, 32)),
    ],
)
def test_both_forms_of_an_operator_are_measured(case: Case) -> None:
    found = host_kernels.measure(case)
    assert (found.name, found.default > 0, found.scheduled > 0) == (case.name, True, True)


def test_the_page_has_a_row_for_each() -> None:
    text = host_kernels.page([Figures("one", 0.004, 0.001)], 1.5)
    assert "| one | 4.00 ms | 1.00 ms | 4.0 |\n" in text
    assert "load 1.5 when the run began" in text


def test_results_that_differ_end_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_kernels, "_close", lambda first, second: False)
    with pytest.raises(AssertionError) as caught:
        host_kernels.measure(Case("layer", "MatMul", lambda: nn.Linear(8, 8), (1, 8)))
    assert str(caught.value) == "layer: the scheduled kernel makes something else"


def test_floats_are_compared_to_the_tolerance_and_integers_exactly() -> None:
    one = np.ones(3, np.float32)
    assert host_kernels._close(one, one * 1.00001)
    assert not host_kernels._close(one, one * 1.01)
    assert not host_kernels._close(np.array([1, 2]), np.array([1, 3]))
