"""Signatures: what decides a mapping and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from intaglio.compiler.signature import signature
from intaglio.compiler.workload import Conv2d, Workload
from tests.compiler.builders import I8, U8, Builder, every_operator


def layer(
    name: str = "fc",
    outputs: int = 4,
    source: str = "x",
    hidden: tuple[str, ...] = (),
    narrow: bool = False,
) -> Workload:
    """A product under other names, of other extents, types or outputs."""
    b = Builder(len(name))
    x = b.tensor(source, (1, 8), U8 if narrow else I8)
    made = b.matmul(name, x, outputs)
    return b.build((x,), (b.matmul("last", made, 4), *hidden))


def test_names_scales_and_constants_do_not_count() -> None:
    workload = layer()
    assert signature(workload) == signature(layer("other", source="y"))
    assert signature(workload) == signature(replace(workload, name="else", constants={}))
    scaled = {name: replace(t, scale=0.25) for name, t in workload.tensors.items()}
    assert signature(workload) == signature(replace(workload, tensors=scaled))


@pytest.mark.parametrize(
    "other",
    [layer(outputs=5), layer(narrow=True), layer(hidden=("fc.out",))],
    ids=["extent", "type", "output"],
)
def test_extents_types_and_outputs_count(other: Workload) -> None:
    assert signature(layer()) != signature(other)


CHANGES: dict[str, dict[str, object]] = {
    "stem": {"stride": (1, 1)},
    "grouped": {"groups": 1},
    "sub": {"kind": "add"},
    "max": {"kernel": (2, 2)},
    "concat": {"axis": 2},
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_attribute_counts(name: str) -> None:
    workload = every_operator()
    changed = tuple(
        replace(op, **CHANGES[name]) if op.name == name else op  # type: ignore[arg-type]
        for op in workload.ops
    )
    assert signature(workload) != signature(replace(workload, ops=changed))


@pytest.mark.parametrize("change", [{"lo": 0}, {"hi": 1}, {"table": None}, {"residual": None}])
def test_the_epilogue_counts(change: dict[str, object]) -> None:
    workload = every_operator()
    grouped = next(op for op in workload.ops if op.name == "grouped")
    assert isinstance(grouped, Conv2d)
    other = replace(grouped, epilogue=replace(grouped.epilogue, **change))  # type: ignore[arg-type]
    changed = tuple(other if op is grouped else op for op in workload.ops)
    assert signature(workload) != signature(replace(workload, ops=changed))
