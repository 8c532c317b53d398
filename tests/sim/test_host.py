"""Operators on the host as compiled kernels, beside the reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from intaglio.compiler import reference
from intaglio.sim import host
from intaglio.sim.verify_report import HostRun, VerifyReport
from intaglio.templates.deployment import Deployment
from tests.compiler.builders import draw_inputs, every_operator
from tests.templates.npu.networks import SMALL, cut

HOSTED = ("depthwise", "add", "flatten", "head")


@pytest.fixture(scope="module")
def made() -> Deployment:
    return cut(every_operator(), SMALL, *HOSTED)


@pytest.fixture(scope="module")
def values() -> dict[str, np.ndarray]:
    workload = every_operator()
    return reference.run(workload, draw_inputs(workload, seed=2))


def test_every_operator_on_the_host_equals_the_reference(
    made: Deployment, values: dict[str, np.ndarray], model_cache: Path
) -> None:
    runs = host.run(made, values, cache=model_cache)
    assert [run.name for run in runs] == list(HOSTED)
    assert [run.elements for run in runs] == [
        made.workload.tensor(op.output).elements for op in made.partition.hosted
    ]
    assert all(run.mismatches == 0 and run.microseconds > 0 for run in runs)


def test_an_element_that_differs_is_counted(
    made: Deployment, values: dict[str, np.ndarray], model_cache: Path
) -> None:
    wrong = values["head.out"].copy()
    wrong[0, 1] ^= 1
    runs = host.run(made, {**values, "head.out": wrong}, cache=model_cache)
    assert [run.mismatches for run in runs] == [0, 0, 0, 1]


def report(*kernels: HostRun) -> VerifyReport:
    hosted = ("add", "head")
    return VerifyReport(
        "net",
        0,
        1,
        10,
        0,
        None,
        (100,),
        100,
        (),
        (),
        0,
        0,
        hosted=hosted,
        kernels=kernels,
        machine="a processor, 2 cores",
    )


def test_a_report_tells_kernels_from_the_reference() -> None:
    ran = report(HostRun("add", 64, 0, 1.25), HostRun("head", 5, 0, 0.5))
    assert ran.passed
    assert str(ran).splitlines()[1] == (
        "operators on the host, as compiled kernels: 2, 69 elements of 1 image compared, equal; "
        "1.8 us measured on this machine (a processor, 2 cores)"
    )
    assert str(report()).splitlines()[1] == (
        "operators on the host, computed by the reference and not in RTL: 2"
    )


def test_a_kernel_that_differs_fails_the_verification() -> None:
    failed = replace(report(), kernels=(HostRun("add", 64, 3, 1.0),))
    assert not failed.passed
    assert " compared, 3 differ; " in str(failed)
