"""Random networks of heads of rows: attention from rows to rows, and products of what enters."""

from __future__ import annotations

from hypothesis import strategies as st

from intaglio.compiler.workload import ElementType, Workload
from tests.compiler.builders import I8, U8, Builder, attention

I16 = ElementType(16)


@st.composite
def attentions(draw: st.DrawFn, lanes: int) -> Workload:
    """A layer of a transformer: up to 40 rows, up to three heads of whole words of `lanes`."""
    b = Builder(draw(st.integers(0, 1 << 16)))
    rows, heads = draw(st.integers(1, 40)), draw(st.integers(1, 3))
    x = b.tensor("x", (1, rows, draw(st.integers(1, 24))), draw(st.sampled_from((I8, U8))))
    mask = None
    if draw(st.booleans()):
        shape = (1, draw(st.sampled_from((1, heads))), draw(st.sampled_from((1, rows))), rows)
        mask = b.tensor("mask", shape, ElementType(1, "unsigned"))
    features = lanes * draw(st.integers(1, 2))
    joined = attention(b, "attention", x, heads, mask, features)
    inputs = (x,) if mask is None else (x, mask)
    projected = b.matmul("projected", joined, draw(st.integers(1, 24)), I16)
    middle = b.matmul("up", b.norm("before", projected, "layer"), draw(st.integers(1, 40)))
    down = b.matmul("down", middle, draw(st.integers(1, 24)), I16)
    return b.build(inputs, (b.norm("last", down, "rms"), b.norm("wide", down, "rms", I16)))


@st.composite
def products(draw: st.DrawFn) -> Workload:
    """Heads that enter the network, times others stored by columns and then by rows."""
    b = Builder(draw(st.integers(0, 1 << 16)))
    heads = draw(st.sampled_from(((), (1,), (3,))))
    rows, inner, columns, last = (draw(st.integers(1, 20)) for _ in range(4))
    x = b.tensor("x", (1, *heads, rows, inner), draw(st.sampled_from((I8, U8, I16))))
    by_columns = b.tensor("k", (1, *heads, columns, inner))
    by_rows = b.tensor("v", (1, *heads, columns, last))
    element = draw(st.sampled_from((I8, U8, I16)))
    scores = b.products("scores", x, by_columns, transposed=True, element=element)
    mixed = b.products("mixed", b.softmax("softmax", scores), by_rows, element=element)
    return b.build((x, by_columns, by_rows), (scores, mixed))
