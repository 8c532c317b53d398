"""Every dot product of the table, and the plain loop, computes the same words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tvm.target import Target

from intaglio.compiler.kernels import library
from intaglio.compiler.kernels.contractions import Packing, pack, pack_computed
from intaglio.compiler.kernels.dots import DOTS, Dot, available
from intaglio.compiler.workload import BatchMatMul, Conv2d, ElementType, MatMul, Workload
from tests.compiler.builders import I8, U8, Builder
from tests.compiler.kernels.agreement import check


def network(element: ElementType) -> Workload:
    """A convolution with a residual, a grouped one, and products of constants and of tensors."""
    b = Builder()
    x = b.tensor("x", (1, 20, 5, 17), element)
    y = b.conv("conv", x, 20, padding=(1, 1, 1, 1), residual=x, table=True)
    z = b.conv("grouped", y, 24, (2, 3), (2, 1), (0, 1, 2, 0), (1, 2), groups=2)
    flat = b.reshape("flat", z, (1, 24 * 3 * 15))
    rows = b.tensor("rows", (1, 5, 18), element)
    b.ops.append(
        BatchMatMul(
            "batch", rows, rows, b.tensor("b", (1, 5, 5)), True, b.epilogue("e", 1, I8, 0.1)
        )
    )
    return b.build((x, rows), (b.matmul("fc", flat, 37), "b"))


@pytest.mark.parametrize("element", [I8, U8])
@pytest.mark.parametrize("dot", [*DOTS, None], ids=lambda dot: dot.feature if dot else "plain")
def test_every_instruction_of_this_machine_equals_the_reference(
    dot: Dot | None, element: ElementType, kernel_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if dot is not None and dot not in available(library.host()):
        pytest.skip(f"this processor has no {dot.feature}")
    monkeypatch.setattr(library, "available", lambda target: () if dot is None else (dot,))
    check(network(element), kernel_cache, 2)


def test_other_processors_get_code_without_these_instructions() -> None:
    workload = network(U8)
    arm = Target({"kind": "llvm", "mtriple": "aarch64-linux-gnu"})
    assert available(arm) == ()
    for op in workload.ops:
        if isinstance(op, Conv2d | MatMul | BatchMatMul):
            text = library.kernel(workload, op, arm).generate().mod.inspect_source("asm")
            assert "mla" in text


def weights(value: int, count: int) -> np.ndarray:
    return np.full((2, count), value, np.int64)


def names(packing: Packing) -> tuple[str | None, int, str]:
    return packing.dot.feature if packing.dot else None, packing.offset, packing.sum


@pytest.mark.parametrize(
    ("element", "weight", "count", "expected"),
    [
        (U8, 127, 100, ("avx512vnni", 0, "int32")),
        (I8, -128, 100, ("avx512vnni", 128, "int32")),
        (ElementType(1, "bipolar"), 1, 100, ("avx512vnni", 1, "int32")),
        (ElementType(9, "unsigned"), 1, 100, ("avx512bw", 0, "int32")),
        (ElementType(16), 100, 600, ("avx512bw", 0, "int32")),
        (ElementType(16), 100, 656, (None, 0, "int64")),
        (ElementType(16), -(1 << 15), 1, (None, 0, "int32")),
        (ElementType(16, "unsigned"), 1, 100, (None, 0, "int32")),
        (U8, 200, 100, ("avx512bw", 0, "int32")),
        (I8, 127, 66312, ("avx512bw", 0, "int32")),
        (U8, 127, 66311, ("avx512vnni", 0, "int32")),
        (U8, 127, 66312, (None, 0, "int64")),
    ],
)
def test_the_packing_is_the_fastest_that_is_exact(
    element: ElementType, weight: int, count: int, expected: tuple[str | None, int, str]
) -> None:
    assert names(pack(DOTS, element, weights(weight, count))) == expected


@pytest.mark.parametrize(
    ("element", "other", "count", "expected"),
    [
        (U8, I8, 100, ("avx512bw", 0, "int32")),
        (ElementType(16), I8, 100, ("avx512bw", 0, "int32")),
        (I8, ElementType(16), 100, (None, 0, "int32")),
        (ElementType(15), ElementType(15), 7, ("avx512bw", 0, "int32")),
        (ElementType(15), ElementType(15), 8, (None, 0, "int64")),
    ],
)
def test_two_computed_operands_take_pairs_of_16_bits(
    element: ElementType, other: ElementType, count: int, expected: tuple[str | None, int, str]
) -> None:
    assert names(pack_computed(DOTS, element, other, count)) == expected
