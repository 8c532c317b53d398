"""What the npu refuses, by the whole sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest

from intaglio.compiler.workload import Concat, ElementType, Norm, Rescale, Transpose, Workload
from intaglio.errors import UnsupportedError
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.schedule import schedule
from intaglio.templates.npu.supports import supports
from tests.compiler.builders import I8, U8, Builder, every_operator
from tests.templates.npu.networks import SMALL, check

U1 = ElementType(1, "unsigned")


def batch() -> Workload:
    b = Builder()
    x = b.tensor("x", (2, 3, 4, 4))
    return b.build((x,), (b.conv("op", x, 3, (1, 1)),))


def unsigned() -> Workload:
    b = Builder()
    x = b.tensor("x", (1, 3, 4, 4), ElementType(16, "unsigned"))
    return b.build((x,), (b.conv("op", x, 3, (1, 1)),))


def wide_maximum() -> Workload:
    b = Builder()
    x = b.tensor("x", (1, 3, 4, 4), ElementType(12))
    return b.build((x,), (b.pool("op", x, "max", (2, 2), (2, 2)),))


def wide_table() -> Workload:
    b = Builder()
    x = b.tensor("x", (1, 3, 4, 4))
    return b.build((x,), (b.rescale("op", x, ElementType(10), table=True),))


def weights() -> Workload:
    b = Builder()
    x = b.tensor("x", (1, 3, 4, 4))
    y = b.conv("op", x, 3, (1, 1))
    b.tensors["op.weight"] = replace(b.tensors["op.weight"], element=ElementType(9))
    return b.build((x,), (y,))


def long() -> Workload:
    b = Builder()
    x = b.tensor("x", (1, 1, 1, 70000))
    return b.build((x,), (b.pool("op", x, "max", (1, 1), (1, 1)),))


def padded() -> Workload:
    b = Builder()
    x = b.tensor("x", (1, 1, 4, 4))
    return b.build((x,), (b.conv("op", x, 1, (1, 1), padding=(300, 0, 0, 0)),))


def large_kernel() -> Workload:
    b = Builder()
    x = b.tensor("x", (1, 1, 1, 2000))
    return b.build((x,), (b.conv("op", x, 1, (1, 1500)),))


def large_window() -> Workload:
    b = Builder()
    x = b.tensor("x", (1, 1, 300, 3))
    return b.build((x,), (b.pool("op", x, "max", (300, 2), (1, 1)),))


def _concat(**changes: object) -> Workload:
    b = Builder()
    x = b.tensor("x", (1, 3, 2, 2))
    y = b.concat("op", x, x)
    op = b.ops[-1]
    assert isinstance(op, Concat)
    first = replace(op.epilogues[0], **changes)  # type: ignore[arg-type]
    b.ops[-1] = replace(op, epilogues=(first, op.epilogues[1]))
    return b.build((x,), (y,))


def clamped_differently() -> Workload:
    return _concat(lo=0)


def joined_residual() -> Workload:
    return _concat(residual="x", residual_multiplier="op.1.multiplier")


def transposed() -> Workload:
    b = Builder()
    x = b.tensor("x", (1, 3, 4, 4))
    y = b.conv("conv", x, 3, (1, 1))
    b.ops.append(Transpose("op", y, b.tensor("op.out", (1, 4, 3, 4)), (0, 2, 1, 3)))
    return b.build((x,), ("op.out",))


def turned() -> Workload:
    b = Builder()
    x = b.tensor("x", (1, 3, 4, 4))
    y = b.conv("conv", x, 3, (1, 1))
    b.ops.append(Transpose("op", y, b.tensor("op.out", (1, 4, 4, 3)), (0, 2, 3, 1)))
    return b.build((x,), ("op.out",))


def entering() -> Workload:
    b = Builder()
    x = b.tensor("x", (1, 6, 32))
    y = b.transpose("op", b.reshape("apart", x, (1, 6, 2, 16)))
    return b.build((x,), (b.products("square", y, y, transposed=True),))


def odd_heads() -> Workload:
    b = Builder()
    x = b.tensor("x", (1, 6, 20))
    apart = b.reshape("apart", b.matmul("first", x, 20), (1, 6, 2, 10))
    y = b.transpose("op", apart)
    return b.build((x,), (b.products("square", y, y, transposed=True),))


def _product(
    *heads: int, transposed: bool = False, element: ElementType = I8, features: int = 6
) -> Workload:
    b = Builder()
    x, w = (b.tensor(name, (1, *heads, 6, features), element) for name in ("x", "w"))
    return b.build((x, w), (b.products("op", x, w, transposed=transposed),))


def without_engines() -> Workload:
    return _product(3, transposed=True)


def unsigned_operand() -> Workload:
    return _product(3, element=U8)


def product_of_volumes() -> Workload:
    return _product(2, 2)


def heads_of_a_map() -> Workload:
    b = Builder()
    x = b.tensor("x", (1, 3, 4, 4))
    y = b.conv("conv", x, 3, (1, 1))
    return b.build((x,), (b.products("op", y, y),))


def product_of_maps() -> Workload:
    b = Builder()
    x = b.tensor("x", (1, 2, 6, 4))
    return b.build((x,), (b.matmul("op", x, 4),))


def scaled_volume(channels: int = 4) -> Workload:
    b = Builder()
    x = b.tensor("x", (1, 2, 3, 2, 4))
    out = b.tensor("op.out", (1, 2, 3, 2, 4))
    b.ops.append(Rescale("op", x, out, b.epilogue("op", channels, I8, 1.0)))
    return b.build((x,), (out,))


def joined_rows() -> Workload:
    b = Builder()
    x = b.tensor("x", (1, 6, 4, 2))
    out = b.tensor("op.out", (1, 6, 8, 2))
    both = tuple(b.epilogue(f"op.{i}", 1, I8, 0.8) for i in range(2))
    b.ops.append(Concat("op", (x, x), out, both, axis=2))
    return b.build((x,), (out,))


def moved() -> Workload:
    b = Builder()
    x = b.tensor("x", (1, 4, 4, 4))
    made = b.conv("first", x, 8, (1, 1))
    return b.build((x,), (b.rescale("op", b.reshape("fold", made, (1, 32, 2, 2))),))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            batch,
            "op: tensor 'x' is a batch of 2; the npu runs one image at a time, so give example "
            "inputs with a batch of 1",
        ),
        (
            unsigned,
            "op: tensor 'x' holds u16, the npu's elements have at most 15 bits and a sign; "
            "quantise it to fewer bits",
        ),
        (
            wide_maximum,
            "op: takes the maximum of 'x', which holds i12, the npu compares 8 bits; quantise it "
            "to 8 bits",
        ),
        (
            wide_table,
            "op: its table makes i10, the npu's tables have entries of 8 bits; quantise its output "
            "to 8 bits",
        ),
        (
            weights,
            "op: weight 'op.weight' holds i9, the npu's weights are signed 8 bits; quantise its "
            "weights to at most 8 bits",
        ),
        (
            long,
            "op: tensor 'x' is 70000 pixels long, the npu counts to 65535; split the feature map",
        ),
        (padded, "op: padding of 300 pixels, the npu pads up to 255; pad less"),
        (
            large_kernel,
            "op: window of 1x1500 pixels, the npu's reach 1023; use two smaller windows one after "
            "the other",
        ),
        (
            large_window,
            "op: window of 300x2 pixels, the npu's reach 255; use two smaller windows one after "
            "the other",
        ),
        (
            clamped_differently,
            "op: its operands are clamped to different ranges, the npu has one for each block of "
            "channels; clamp the operands before they are joined",
        ),
        (
            joined_residual,
            "op: an operand has a residual or a table, which the npu cannot join; apply it before "
            "the concatenation",
        ),
        (
            transposed,
            "op: permutes 'conv.out', which is stored as 3x4x4, the npu moves no data; permute "
            "rows of features, reshaped to (1, rows, heads, features), or heads",
        ),
        (turned, "op: the npu has no instruction for Transpose"),
        (
            entering,
            "op: permutes 'x' on its way into the npu, which moves no data; give it as (1, 2, 6, "
            "16)",
        ),
        (
            odd_heads,
            "op: permutes heads of 10 features, which the npu only does where they lie in words of "
            "16; make a head's features a multiple of 16",
        ),
        (
            without_engines,
            "op: is a product of activations, design 'npu' has row_lanes of 0 and so no array that "
            "takes both ways of them as weights; set row_lanes to 1, 2, 4 or 8",
        ),
        (
            unsigned_operand,
            "op: multiplies by 'w', which holds u8, the npu's weights are signed 8 bits; quantise "
            "it to at most 8 bits with a sign",
        ),
        (
            product_of_volumes,
            "op: makes 'op.out' of shape (1, 2, 2, 6, 6), the npu's products of activations are "
            "rows (1, rows, features) and heads of them (1, heads, rows, features); reshape its "
            "input to them",
        ),
        (
            heads_of_a_map,
            "op: reads 'conv.out' as 3 heads of 1x4x4, it is stored as 3x4x4; make heads of rows "
            "of features by a reshape to (1, rows, heads, features) and a permute to (0, 2, 1, 3), "
            "and back",
        ),
        (
            product_of_maps,
            "op: makes 'op.out' of shape (1, 2, 6, 4), the npu's products are vectors (1, "
            "features) and rows (1, rows, features); reshape its input to rows",
        ),
        (
            scaled_volume,
            "op: makes 'op.out' of shape (1, 2, 3, 2, 4), the npu's feature maps are (1, channels, "
            "y, x); reshape it to one",
        ),
        (
            joined_rows,
            "op: joins axis 2, the npu joins channels; make that axis the channels before",
        ),
        (
            moved,
            "op: reads 'fold.out', which a reshape turned from 8x4x4 into 32x2x2 without moving "
            "data; only a linear layer on all of it, another reshape or the network's "
            "output can follow such a reshape",
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_refusals(make: Callable[[], Workload], sentence: str) -> None:
    workload = make()
    op = next(op for op in workload.ops if op.name == "op")
    design = NpuDesign(row_lanes=0 if make is without_engines else 4)
    assert supports(op, workload, design) == sentence
    with pytest.raises(UnsupportedError) as caught:
        schedule(workload, design)
    assert str(caught.value) == sentence


def _norm(shape: tuple[int, ...], kind: Literal["layer", "rms", "group"] = "layer") -> Workload:
    b = Builder()
    y = b.norm("op", b.tensor("x", shape), "layer")
    op = b.ops[-1]
    assert isinstance(op, Norm)
    b.ops[-1] = replace(op, kind=kind)
    return b.build(("x",), (y,))


def _padded_norm() -> Workload:
    """A norm of what is never 0, in the lanes beyond its features neither."""
    b = Builder()
    x = b.tensor("x", (1, 3, 6))
    y = b.rescale("curve", x, I8, table=False)
    curve = b.ops[-1]
    assert isinstance(curve, Rescale)
    b.ops[-1] = replace(curve, epilogue=replace(curve.epilogue, lo=3))
    return b.build((x,), (b.norm("op", y, "layer"),))


def _softmax(
    shape: tuple[int, ...], mask: tuple[int, ...] = (), element: ElementType = U1
) -> Workload:
    b = Builder()
    names = (b.tensor("x", shape), *((b.tensor("mask", mask, element),) if mask else ()))
    return b.build(names, (b.softmax("op", *names),))


@pytest.mark.parametrize(
    ("workload", "row_lanes", "sentence"),
    [
        (
            _norm((1, 8, 4), "group"),
            4,
            "op: normalises groups of channels, the npu normalises the features of a row; use a "
            "batch norm, which becomes part of the convolution before it",
        ),
        (
            _norm((1, 8, 4)),
            0,
            "op: is a norm, design 'npu' has row_lanes of 0 and so no engine for it; set row_lanes "
            "to 1, 2, 4 or 8",
        ),
        (
            _norm((1, 8, 4, 4)),
            4,
            "op: is a norm of 'x' of shape (1, 8, 4, 4), the npu's rows are (1, features) and (1, "
            "rows, features); reshape its input to them",
        ),
        (
            _padded_norm(),
            4,
            "op: reads 'curve.out', whose lanes beyond the last of its 6 features hold 3, the "
            "npu's norms need 0 there; make 0 a value that the operator before it can give, or the "
            "features a multiple of 16",
        ),
        (
            _softmax((1, 8)),
            0,
            "op: is a softmax, design 'npu' has row_lanes of 0 and so no engine for it; set "
            "row_lanes to 1, 2, 4 or 8",
        ),
        (
            _softmax((1, 8, 8), (1, 8, 1)),
            4,
            "op: its mask 'mask' is of shape (1, 8, 1), the npu takes one of (1, 8, 8) or a row of "
            "(1, 1, 8); reshape or expand it",
        ),
        (
            _softmax((1, 8, 8), (1, 8, 8), I8),
            4,
            "op: its mask 'mask' holds i8, the npu's masks are 0 and 1; compare it with 0 before",
        ),
    ],
    ids=["group", "engine", "map", "padded", "softmax", "mask", "flags"],
)
def test_refused_rows(workload: Workload, row_lanes: int, sentence: str) -> None:
    design = NpuDesign(row_lanes=row_lanes)
    with pytest.raises(UnsupportedError) as caught:
        schedule(workload, design)
    assert str(caught.value) == sentence
    assert supports(workload.ops[-1], workload, design) == sentence


def test_axes_that_share_their_constants_are_supported() -> None:
    workload = scaled_volume(channels=1)
    check(workload, schedule(workload, SMALL))


def test_every_operator_is_supported() -> None:
    workload = every_operator()
    assert [supports(op, workload, NpuDesign()) for op in workload] == [None] * len(workload.ops)


def test_a_workload_that_only_reshapes_has_no_program() -> None:
    b = Builder()
    x = b.tensor("x", (1, 4, 2, 2), I8)
    workload = b.build((x,), (b.reshape("flat", x, (1, 16)),))
    with pytest.raises(UnsupportedError) as caught:
        schedule(workload, NpuDesign())
    assert str(caught.value) == (
        "workload 'built' only reshapes; there is nothing to run on an npu"
    )
