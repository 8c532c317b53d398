"""Layouts: integers to bytes and back, blocked and packed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.errors import UsageError
from intaglio.templates.npu.layout import TensorLayout, packed_channels


def blocked(channels: int, height: int, width: int, filler: int = 0) -> TensorLayout:
    extents = channels, height, width
    return TensorLayout("t", (1, *extents), extents, "blocked", 64, 4, True, filler=filler)


@given(
    st.integers(1, 9), st.integers(1, 4), st.integers(1, 4), st.sampled_from(("blocked", "packed"))
)
def test_packing_and_unpacking_is_the_identity(
    channels: int, height: int, width: int, kind: str
) -> None:
    values = np.random.default_rng(0).integers(-128, 128, (1, channels, height, width))
    layout = blocked(channels, height, width)
    if kind == "packed":
        words = -(-(width + 3) * packed_channels(channels) // 16)
        extents = channels, height, width
        layout = TensorLayout(
            "t", (1, *extents), extents, "packed", 0, 16, True, left=2, row_words=words
        )
    raw = layout.pack(values)
    assert raw.shape == (layout.bytes,)
    assert np.array_equal(layout.unpack(raw), values)


def test_the_place_of_a_blocked_element() -> None:
    values = np.arange(30).reshape(1, 5, 2, 3)
    raw = blocked(5, 2, 3, filler=-1).pack(values)
    block, y, x, lane = 1, 1, 2, 0
    assert raw[((block * 2 + y) * 3 + x) * 4 + lane] == values[0, 4, 1, 2]
    assert raw[((block * 2 + y) * 3 + x) * 4 + 1] == 255


@pytest.mark.parametrize("signed", [False, True])
def test_the_halves_of_a_wide_element(signed: bool) -> None:
    layout = replace(blocked(5, 2, 3, filler=700), signed=signed, halves=2)
    low, high = (-(1 << 15), 1 << 15) if signed else (0, 1 << 16)
    values = np.random.default_rng(0).integers(low, high, (1, 5, 2, 3))
    raw = layout.pack(values)
    assert raw.shape == (layout.bytes,) == (96,)
    halves = raw.reshape(2, 2, 2, 3, 4)
    block, y, x, lane = 1, 1, 2, 0
    assert (
        halves[block, :, y, x, lane].tolist()
        == list(divmod(values[0, 4, 1, 2] & 0xFFFF, 256))[::-1]
    )
    assert halves[block, :, y, x, lane + 1].tolist() == [700 & 0xFF, 700 >> 8]
    assert np.array_equal(layout.unpack(raw), values)


def test_the_place_of_a_packed_element() -> None:
    layout = TensorLayout("t", (1, 3, 2, 2), (3, 2, 2), "packed", 0, 16, False, left=1, row_words=2)
    raw = layout.pack(np.arange(1, 13).reshape(1, 3, 2, 2))
    assert raw.tolist()[:16] == [0, 0, 0, 0, 1, 5, 9, 0, 2, 6, 10, 0, 0, 0, 0, 0]
    assert raw[32 + 4] == 3


def test_a_reshaped_tensor_keeps_the_order_of_its_elements() -> None:
    values = np.arange(24).reshape(1, 6, 2, 2)
    map_layout = TensorLayout("m", (1, 6, 2, 2), (6, 2, 2), "blocked", 0, 4, False)
    flat = TensorLayout("f", (1, 24), (6, 2, 2), "blocked", 0, 4, False)
    assert np.array_equal(flat.pack(values.reshape(1, 24)), map_layout.pack(values))
    assert np.array_equal(flat.unpack(map_layout.pack(values)), values.reshape(1, 24))


def test_another_shape_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        blocked(5, 2, 3).pack(np.zeros((2, 5, 2, 3), np.int64))
    assert str(caught.value) == (
        "tensor 't' takes integers of shape (1, 5, 2, 3), not (2, 5, 2, 3); give one image"
    )


def test_a_layout_as_text_and_as_plain_values() -> None:
    layout = blocked(5, 2, 3)
    assert str(layout) == "t: 1x5x2x3 blocked as 5x2x3 at 0x40, 48 bytes"
    assert TensorLayout.from_dict(layout.to_dict()) == layout


def test_heads_lie_one_behind_the_other() -> None:
    layout = TensorLayout("t", (1, 3, 2, 5), (5, 1, 2), "blocked", 0, 4, True, 0, 0, 7, True, 2, 3)
    values = np.random.default_rng(0).integers(-(1 << 15), 1 << 15, (1, 3, 2, 5))
    raw = layout.pack(values)
    assert raw.shape == (layout.bytes,) == (96,)
    head, block, row, lane = 2, 1, 1, 0
    halves = raw.reshape(3, 2, 2, 2, 4)[head, block, :, row]
    assert halves[:, lane].tolist() == list(divmod(values[0, 2, 1, 4] & 0xFFFF, 256))[::-1]
    assert halves[:, 1].tolist() == [7, 0]
    assert np.array_equal(layout.unpack(raw), values)
