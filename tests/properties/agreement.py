"""What the properties assert: a program fits a design, and computes what the reference says."""

from __future__ import annotations

import re

import numpy as np

from intaglio.compiler import reference
from intaglio.compiler.workload import Workload
from intaglio.errors import DesignError
from intaglio.sim import isa
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.program import Program
from intaglio.templates.npu.schedule import schedule
from tests.compiler.builders import draw_inputs

_TOO_SMALL = re.compile(
    r"\S+: one tile needs \d+ bytes of the \w+ buffer, which holds \d+; raise (\w+) to (\d+)"
)


def check(workload: Workload, program: Program, seed: int) -> None:
    """Every tensor is what the reference computes, in the program's order and two random ones."""
    inputs = draw_inputs(workload, seed)
    expected = reference.run(workload, inputs)
    for order in (None, seed, seed + 1):
        found = isa.run(program, inputs, order)
        for tensor in workload.activations():
            assert np.array_equal(found[tensor.name], expected[tensor.name]), (tensor.name, order)


def fit(workload: Workload, design: NpuDesign) -> Program:
    """The program on `design`, or on the larger one that the refusals' advice leads to."""
    while True:
        try:
            return schedule(workload, design)
        except DesignError as error:
            sentence = str(error)
        design = _enlarged(design, sentence)


def _enlarged(design: NpuDesign, sentence: str) -> NpuDesign:
    """The design that a refusal asks for, which has one buffer that is larger."""
    advice = _TOO_SMALL.fullmatch(sentence)
    assert advice is not None, sentence
    key, kib = advice[1], int(advice[2])
    assert kib > getattr(design, key), sentence
    return NpuDesign.from_dict({**design.to_dict(), key: kib})
