"""Placement of regions: never overlapping, going round, aligned to weight tiles."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from intaglio.templates.npu.allocator import Allocator, capacity, fits
from intaglio.templates.npu.drafts import Space
from intaglio.templates.npu.steps import RegionNeed
from tests.templates.npu.networks import SMALL

needs = st.lists(
    st.builds(
        RegionNeed,
        st.uuids().map(str),
        st.sampled_from((Space.ACTIVATION, Space.WEIGHT)),
        st.integers(1, 3),
        st.integers(1, 60),
    ),
    min_size=1,
    max_size=5,
)


@given(st.lists(needs, min_size=1, max_size=6))
def test_regions_of_a_layer_never_overlap(layers: list[list[RegionNeed]]) -> None:
    allocator = Allocator(SMALL)
    for layer in layers:
        assume(fits(layer, SMALL))
        placed = allocator.place(layer)
        assert len(placed) == len(layer)
        for space in (Space.ACTIVATION, Space.WEIGHT):
            spans = sorted(
                (base, base + need.words) for need, base in placed.values() if need.space is space
            )
            assert all(base % SMALL.groups == 0 for base, _ in spans)
            ends = [0, *(end for _, end in spans)]
            starts = [*(base for base, _ in spans), capacity(SMALL, space)]
            assert all(end <= start for end, start in zip(ends, starts, strict=True))


def test_the_next_layer_starts_where_the_last_one_ended() -> None:
    allocator = Allocator(SMALL)
    region = RegionNeed("input", Space.ACTIVATION, 1, 100)
    bases = [allocator.place([region])["input"][1] for _ in range(4)]
    assert bases == [0, 100, 0, 100]


def test_more_than_the_buffer_holds_does_not_fit() -> None:
    assert fits([RegionNeed("input", Space.ACTIVATION, 2, 128)], SMALL)
    assert not fits([RegionNeed("input", Space.ACTIVATION, 2, 129)], SMALL)
