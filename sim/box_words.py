"""The buffer side of a box in time, one word a step, padding included (npu_box_words)."""

from __future__ import annotations

from intaglio.sim.compiled import compiled
from intaglio.sim.registers import Words
from intaglio.sim.state import Box


@compiled
def begin(words: Words, box: Box, place: int) -> None:
    """Take the box of the instruction at `place`; its first word is there in the next cycle."""
    words.place, words.active = place, True
    words.column, words.row, words.planes = 0, 0, box.planes
    words.address = words.row_address = words.plane_address = box.local


@compiled
def is_empty(box: Box) -> bool:
    """Whether the box has no word at all."""
    columns = box.left + box.words + box.right
    return not (box.planes and box.top + box.rows + box.bottom and columns)


@compiled
def is_inside(words: Words, box: Box) -> bool:
    """Whether the word is of memory, and not of the padding around it."""
    column, row = words.column - box.left, words.row - box.top
    return 0 <= column < box.words and 0 <= row < box.rows


@compiled
def is_last(words: Words, box: Box) -> bool:
    """Whether the walk ends with the word."""
    return (
        words.column == box.left + box.words + box.right - 1
        and words.row == box.top + box.rows + box.bottom - 1
        and words.planes == 1
    )


@compiled
def advance(words: Words, box: Box) -> None:
    """Go to the next word; after the last one the walk is over."""
    words.column += 1
    words.address += 1
    if words.column < box.left + box.words + box.right:
        return
    words.column = 0
    words.row += 1
    words.row_address += box.local_row_stride
    if words.row >= box.top + box.rows + box.bottom:
        words.row = 0
        words.planes -= 1
        words.plane_address += box.local_plane_stride
        words.row_address = words.plane_address
        words.active = words.planes > 0
    words.address = words.row_address


@compiled
def ahead(words: Words, box: Box) -> int:
    """Words from the present one on that are of memory, before padding or the box's end."""
    if not is_inside(words, box):
        return 0
    if box.left or box.right:
        return box.left + box.words - words.column
    rows = box.top + box.rows - words.row
    if not (box.top or box.bottom):
        rows += (words.planes - 1) * box.rows
    return rows * box.words - words.column


@compiled
def left_in_row(words: Words, box: Box) -> int:
    """Words from the present one on in its row, padding included."""
    return box.left + box.words + box.right - words.column


@compiled
def skip(words: Words, box: Box, count: int) -> None:
    """Go `count` words ahead."""
    columns = box.left + box.words + box.right
    while words.column + count >= columns:
        step = columns - words.column
        words.column += step - 1
        advance(words, box)
        count -= step
    words.column += count
    words.address += count
