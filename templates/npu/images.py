"""How many images one program can take, one after the other."""

from __future__ import annotations

from intaglio.errors import UsageError
from intaglio.templates.npu.isa import HEADER, MEMORY_BITS

_LAYERS = HEADER["layer"].hi + 1
"""Layers that instructions tell apart, those of every image counted."""


def check_images(name: str, images: int, layers: int, image_bytes: int) -> None:
    """Raises UsageError when a program of the network `name` cannot take `images` images.

    `layers` are those of one image, `image_bytes` what its tensors take in memory.
    """
    if images < 1:
        raise UsageError(f"images is {images}, at least 1 is needed; ask for 1 or more")
    if images * layers > _LAYERS:
        raise UsageError(
            f"{name}: a program of {images} images has {images * layers} layers, instructions "
            f"tell {_LAYERS} apart; ask for at most {_LAYERS // layers} images"
        )
    room = 1 << MEMORY_BITS
    if images * image_bytes > room:
        raise UsageError(
            f"{name}: the tensors of {images} images take {images * image_bytes} bytes of memory, "
            f"the npu addresses {room}; ask for at most {room // image_bytes} images"
        )
