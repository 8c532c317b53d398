"""Spans of a sliding window against counting every input of every window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from intaglio.templates.npu.geometry import Axis, Span


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    return Axis(
        size=draw(st.integers(1, 12)),
        outputs=draw(st.integers(1, 8)),
        kernel=draw(st.integers(1, 4)),
        stride=draw(st.integers(1, 3)),
        dilation=draw(st.integers(1, 3)),
        before=draw(st.integers(0, 5)),
        may_skip=draw(st.booleans()),
    )


def read(axis: Axis, first: int, count: int) -> list[int]:
    """Positions that outputs `first` ... read, negative or too large in the padding."""
    return [
        output * axis.stride - axis.before + tap * axis.dilation
        for output in range(first, first + count)
        for tap in range(axis.kernel)
    ]


def positions(axis: Axis, span: Span) -> list[int | None]:
    """What each loaded input is: a position in memory, or None for padding."""
    inside = [span.start + i * axis.memory_step for i in range(span.size)]
    return [None] * span.before + [*inside] + [None] * span.after


@given(axes(), st.integers(0, 7), st.integers(1, 8))
def test_every_window_finds_its_inputs_in_the_span(axis: Axis, first: int, count: int) -> None:
    first = min(first, axis.outputs - 1)
    count = min(count, axis.outputs - first)
    loaded = positions(axis, axis.span(first, count))
    assert len(loaded) == axis.loaded(count)
    wanted = iter(read(axis, first, count))
    for output in range(count):
        for tap in range(axis.kernel):
            position = next(wanted)
            found = loaded[output * axis.buffer_stride + tap * axis.dilation]
            assert found == (position if 0 <= position < axis.size else None)


@given(axes(), st.integers(0, 20))
def test_a_span_without_its_first_inputs(axis: Axis, count: int) -> None:
    span = axis.span(0, axis.outputs)
    everything = positions(axis, span)
    count = min(count, len(everything))
    rest = span.without_first(count, axis.memory_step)
    assert positions(axis, rest) == everything[count:]


def test_rows_between_the_windows_of_a_strided_point_are_skipped() -> None:
    axis = Axis(size=8, outputs=4, stride=2, may_skip=True)
    assert axis.span(1, 2) == Span(2, 2, 0, 0)
    assert (axis.memory_step, axis.buffer_stride) == (2, 1)
    assert Axis(size=8, outputs=4, stride=2).span(1, 2) == Span(2, 3, 0, 0)
