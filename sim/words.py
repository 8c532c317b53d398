"""Memory before and after a run: what it must hold, and every word of it that differs.

`Expected` has the bytes of every tensor of every image of a run, by where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler.workload import Workload, channel_axis
from intaglio.errors import VerificationError
from intaglio.sim.verify_report import Difference
from intaglio.templates.npu.layout import TensorLayout
from intaglio.templates.npu.program import Program

Bytes = NDArray[np.uint8]
Expected = Mapping[TensorLayout, Bytes]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Words compared after a run, words that differ, and the first difference.

    `wrong_byte` is the address of a byte of the first tensor that differs.
    """

    words: int
    mismatches: int
    first: Difference | None
    wrong_byte: int | None


def packed(program: Program, values: Mapping[str, NDArray[np.int64]]) -> dict[TensorLayout, Bytes]:
    """What memory must hold of every tensor of `program` after a run, from the values of all.

    `values` have the images of the run along axis 0.
    """
    return {
        layout: layout.pack(values[layout.name][image : image + 1])
        for image in range(program.images)
        for layout in _distinct(program, image)
    }


def initial(program: Program, expected: Expected, size: int) -> Bytes:
    """Constants, instructions and inputs; outputs as the complement of what they must become."""
    memory = np.zeros(size, np.uint8)
    image = program.memory_image()
    memory[: image.size] = image
    for layout in _stored(program, expected):
        data = expected[layout]
        memory[_span(layout)] = data if layout.name in program.inputs else ~data
    return memory


def check_untouched(program: Program, before: Bytes, after: Bytes, expected: Expected) -> None:
    """Raises VerificationError when memory changed outside the tensors that `program` makes."""
    changed = before != after
    for layout in _stored(program, expected):
        if layout.name not in program.inputs:
            changed[_span(layout)] = False
    if changed.any():
        address = int(np.argmax(changed))
        raise VerificationError(
            f"the hardware wrote {int(changed.sum())} bytes outside the tensors it makes, the "
            f"first in {_place(program, address)}"
        )


def final(program: Program, expected: Expected) -> Bytes:
    """What the tensors of `program` must be, in memory and after it; zero where none is."""
    result = np.zeros(program.map_bytes, np.uint8)
    for layout, data in expected.items():
        result[_span(layout)] = data
    return result


def _stored(program: Program, layouts: Iterable[TensorLayout]) -> tuple[TensorLayout, ...]:
    """Those of the tensors at `layouts` that are in memory."""
    return tuple(layout for layout in layouts if layout.address < program.memory_bytes)


def compare(
    workload: Workload, program: Program, expected: Expected, memory: Bytes, first_image: int
) -> Comparison:
    """Every word of every tensor that `program` makes, after its run from `first_image` on.

    `memory` holds the tensors that stay on the chip after those in memory.
    """
    made = [
        (image, layout)
        for image in range(program.images)
        for layout in _distinct(program, image)
        if layout.name not in program.inputs
    ]
    results = [
        _compare(workload, layout, expected[layout], memory, first_image + image)
        for image, layout in made
    ]
    differences = [first for _, first in results if first is not None]
    return Comparison(
        words=sum(layout.words for _, layout in made),
        mismatches=sum(wrong for wrong, _ in results),
        first=differences[0] if differences else None,
        wrong_byte=_first_wrong_byte([layout for _, layout in made], expected, memory),
    )


def _distinct(program: Program, image: int) -> tuple[TensorLayout, ...]:
    """The layouts of one image in execution order, of those that share memory the first."""
    seen: dict[int, TensorLayout] = {}
    for name in program.tensors:
        layout = program.layout(name, image)
        seen.setdefault(layout.address, layout)
    return tuple(seen.values())


def _span(layout: TensorLayout) -> slice:
    return slice(layout.address, layout.address + layout.bytes)


def _place(program: Program, address: int) -> str:
    for name, region in program.regions.items():
        if region.address <= address < region.end:
            return f"byte {address - region.address} of region '{name}'"
    for image in range(1, program.images):
        for layout in _distinct(program, image):
            if layout.address <= address < layout.address + layout.bytes:
                place = f"byte {address - layout.address} of region 'tensor {layout.name}'"
                return f"{place} of image {image}"
    return f"byte {address:#x}, which belongs to no region"


def _first_wrong_byte(
    layouts: Sequence[TensorLayout], expected: Expected, memory: Bytes
) -> int | None:
    for layout in layouts:
        wrong = expected[layout] != memory[_span(layout)]
        if wrong.any():
            return layout.address + int(np.argmax(wrong))
    return None


def _compare(
    workload: Workload, layout: TensorLayout, expected: Bytes, memory: Bytes, image: int
) -> tuple[int, Difference | None]:
    """Words of one tensor that differ, and the first difference."""
    got = memory[_span(layout)]
    wrong = (expected != got).reshape(-1, layout.lanes).any(axis=1)
    count = int(wrong.sum())
    return count, _locate(workload, layout, expected, got, image) if count else None


def _locate(
    workload: Workload, layout: TensorLayout, expected: Bytes, got: Bytes, image: int
) -> Difference:
    """The first difference in the order channel, row, column; padding only when nothing else is."""
    maker = {op.output: op.name for op in workload.ops}
    layer = maker.get(layout.name, layout.name)
    wanted, found = layout.unpack(expected), layout.unpack(got)
    if (wanted != found).any():
        index = tuple(int(i) for i in np.argwhere(wanted != found)[0])
        axis = channel_axis(len(index))
        position = (*index[1:axis], *index[axis + 1 :])
        values = int(wanted[index]), int(found[index])
        return Difference(image, layer, layout.name, index[axis], position, *values)
    offset = int(np.argmax(expected != got))
    word, lane = divmod(offset, layout.lanes)
    plane, pixel = divmod(word, layout.plane_words)
    block = plane // layout.halves
    return Difference(
        image,
        layer,
        layout.name,
        channel=block * layout.lanes + lane,
        position=divmod(pixel, layout.map[2]),
        expected=int(expected[offset]),
        got=int(got[offset]),
        padding=True,
    )
