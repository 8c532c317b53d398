"""Weights of fewer than 8 bits in as many bits: how they lie on disk, and what they take.

Elements follow one another from the lowest bit of the first byte, in two's complement; ternary ones
take 2 bits, bipolar ones 1, which is set for +1.  The last byte is filled with zeros.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler.tensor import ElementType, Shape
from intaglio.compiler.workload import Conv2d, MatMul, Workload


def packs(element: ElementType) -> bool:
    """Whether weights of `element` take less than a byte each."""
    return element.bits < 8 and element.encoding in ("signed", "ternary", "bipolar")


def pack(values: NDArray[np.int8], element: ElementType) -> NDArray[np.uint8]:
    """`values` of any shape as bytes, (ceil(elements * bits / 8),)."""
    if element.encoding == "bipolar":
        values = (values > 0).view(np.int8)
    codes = values.reshape(-1, 1).view(np.uint8)
    return np.packbits(
        np.unpackbits(codes, axis=1, count=element.bits, bitorder="little"), bitorder="little"
    )


def unpack(packed: NDArray[np.uint8], element: ElementType, shape: Shape) -> NDArray[np.int8]:
    """What `pack` packed, of `shape`.

    Raises ValueError when there are more or fewer bytes, or a value that `element` does not hold.
    """
    elements, bits = int(np.prod(shape, dtype=np.int64)), element.bits
    if packed.shape != (-(-elements * bits // 8),):
        raise ValueError(f"{packed.size} bytes hold no {elements} elements of {bits} bits")
    rows = np.unpackbits(packed, count=elements * bits, bitorder="little").reshape(elements, bits)
    codes = np.packbits(rows, axis=1, bitorder="little").reshape(shape)
    if element.encoding == "bipolar":
        return 2 * codes.astype(np.int8) - 1
    sign = 1 << (bits - 1)
    values: NDArray[np.int8] = ((codes.astype(np.int16) ^ sign) - sign).astype(np.int8)
    if values.size and not element.lo <= values.min() <= values.max() <= element.hi:
        raise ValueError(f"a value is outside {element.lo} to {element.hi}")
    return values


def weight_bits(workload: Workload) -> int:
    """Bits of all weights at their own widths; what layers share counts once."""
    names = {op.weight for op in workload.ops if isinstance(op, Conv2d | MatMul)}
    tensors = [workload.tensor(name) for name in names]
    return sum(tensor.elements * tensor.element.bits for tensor in tensors)
