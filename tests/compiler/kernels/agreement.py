"""What tests of kernels assert: every activation is the reference's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from intaglio.compiler import reference
from intaglio.compiler.kernels import compile_network
from intaglio.compiler.workload import Workload
from tests.compiler.builders import draw_inputs


def check(workload: Workload, cache: Path, images: int = 1, seed: int = 0) -> None:
    """Every activation of `images` drawn images equals the reference's, word for word."""
    inputs = draw_inputs(workload, seed, images)
    expected = reference.run(workload, inputs)
    found = compile_network(workload, cache=cache).run(inputs, activations=True)
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
