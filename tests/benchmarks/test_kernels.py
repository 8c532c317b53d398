"""The benchmark of kernels compares every word, and its table is complete."""

from __future__ import annotations

from pathlib import Path

from benchmarks import kernels
from intaglio.compiler.kernels import compile_network
from tests.compiler.builders import every_operator


def test_a_network_is_measured_and_compared(tmp_path: Path) -> None:
    workload = every_operator()
    figures = kernels.measure("built", workload, 1, 2, tmp_path)
    assert figures.words == sum(tensor.elements for tensor in workload.activations())
    assert figures.mismatches == 0
    page = kernels.page([figures], 0.0)
    assert f"| 0 of {figures.words} |" in page
    assert "| built | " in page


def test_words_that_differ_are_counted(tmp_path: Path) -> None:
    workload = every_operator()
    network = compile_network(workload, cache=tmp_path)
    assert kernels.compared(every_operator(1), network, kernels.drawn(workload, 1))[1] > 0
