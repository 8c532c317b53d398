"""Random inverted residual blocks, whose operators the npu fuses: expansion, window, projection."""

from __future__ import annotations

from hypothesis import strategies as st

from intaglio.compiler.workload import Workload
from tests.compiler.builders import I8, MIXED, U8, Builder


@st.composite
def blocks(draw: st.DrawFn) -> Workload:
    """One or two blocks of MobileNetV2 (Sandler et al., 2018, table 1), then perhaps a pool."""
    b = Builder(draw(st.integers(0, 1 << 16)), draw(st.permutations(MIXED).map(tuple)))
    size = draw(st.integers(4, 14)), draw(st.integers(4, 14))
    x = y = b.tensor("x", (1, draw(st.integers(1, 24)), *size), draw(st.sampled_from((I8, U8))))
    for index in range(draw(st.integers(1, 2))):
        y = _block(draw, b, f"block{index}", y)
    if draw(st.booleans()):
        y = b.pool(
            "pool", b.conv("head", y, draw(st.integers(1, 40)), (1, 1)), "max", (2, 2), (1, 1)
        )
    return b.build((x,), (y,))


def _block(draw: st.DrawFn, b: Builder, name: str, source: str) -> str:
    channels = b.tensors[source].shape[1]
    wide = channels * draw(st.integers(1, 4))
    kernel, stride = draw(st.sampled_from((3, 3, 5))), draw(st.integers(1, 2))
    whole = draw(st.sampled_from((1, 1, 3)))
    table = draw(st.booleans())
    y = b.conv(
        f"{name}.expand", source, wide, (whole, whole), padding=(whole // 2,) * 4, table=table
    )
    y = b.conv(
        f"{name}.window",
        y,
        wide,
        (kernel, kernel),
        (stride, stride),
        (kernel // 2,) * 4,
        groups=wide,
        element=U8,
    )
    same = b.tensors[y].shape[2:] == b.tensors[source].shape[2:]
    if same and draw(st.booleans()):
        return b.conv(f"{name}.project", y, channels, (1, 1), residual=source)
    return b.conv(f"{name}.project", y, draw(st.integers(1, 24)), (1, 1))
