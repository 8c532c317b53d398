"""Calibration: what is taken from data, and how the data are read, checked or drawn from a seed."""

from __future__ import annotations

import difflib
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import CalibrationError, UsageError

Data = dict[str, NDArray[np.generic]]
Observer = Literal["minmax", "percentile", "mse"]
WeightObserver = Literal["minmax", "mse"]
Rounding = Literal["nearest", "compensated"]
UNREADABLE = (
    OSError,
    ValueError,
    AttributeError,
    TypeError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy raises for files that are no .npz: unreadable, empty, cut off, another format."""


@dataclass(frozen=True, slots=True)
class Method:
    """How scales, weights and biases follow from calibration data.

    observer      scales of activations: `minmax` clamps no value seen, `percentile` all but a
                  share of them, `mse` has the least squared error of rounding and clamping
    percentile    that share, in percent
    weights       scales of weights: `minmax` clamps none, `mse` has the least squared error of
                  rounding and clamping, which pays below 5 bits
    correct_bias  take from each bias what rounding the weights adds to a channel on average
    rounding      of weights: `nearest`, or `compensated`, which lets the weights not yet rounded
                  take up the error of those that are

    Raises UsageError for an unknown name and a percentile outside 50 to 100.
    """

    observer: Observer = "minmax"
    percentile: float = 99.99
    correct_bias: bool = False
    rounding: Rounding = "nearest"
    weights: WeightObserver = "minmax"

    def __post_init__(self) -> None:
        _check_name("observer", self.observer, get_args(Observer))
        _check_name("observer of weights", self.weights, get_args(WeightObserver))
        _check_name("rounding", self.rounding, get_args(Rounding))
        if not 50 <= self.percentile <= 100:
            raise UsageError(
                f"a percentile of {self.percentile:g} is outside 50 to 100; choose one near 99.99"
            )


def _check_name(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        near = difflib.get_close_matches(given, known, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"choose one of {', '.join(known)}"
        raise UsageError(f"'{given}' is no {what}; {hint}")


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays of an .npz file, one for each input of the model, by its name.

    Raises UsageError when the file is missing or is no .npz file; nothing in it is executed.
    """
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file; give the path of an .npz file")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except UNREADABLE as error:
        raise UsageError(
            f"{path}: is no readable .npz file ({type(error).__name__}); write it with "
            "numpy.savez, one array for each input"
        ) from error


def check_calibration(
    arrays: Mapping[str, NDArray[np.generic]],
    shapes: Mapping[str, tuple[int, ...]],
    integers: Collection[str] = (),
) -> Data:
    """`arrays` as float32, or int64 for the inputs named in `integers`, in the order of the inputs.

    Raises CalibrationError for an unknown or missing key, a wrong shape, no or unequal numbers of
    images, and values that are not finite numbers.
    """
    for key in arrays:
        if key not in shapes:
            near = difflib.get_close_matches(key, shapes, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"the inputs are {', '.join(shapes)}"
            raise CalibrationError(f"calibration key '{key}' is no input of the model; {hint}")
    missing = [name for name in shapes if name not in arrays]
    if missing:
        raise CalibrationError(
            f"calibration data lack input '{missing[0]}'; add an array under that key"
        )
    checked = {
        name: _checked(name, arrays[name], shape, name in integers)
        for name, shape in shapes.items()
    }
    counts = {name: len(array) for name, array in checked.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise CalibrationError(
            f"calibration inputs hold different numbers of images ({listed}); give each the same"
        )
    return checked


def _checked(
    name: str, array: NDArray[np.generic], shape: tuple[int, ...], integers: bool
) -> NDArray[np.generic]:
    if array.ndim != len(shape) or array.shape[1:] != shape[1:] or not len(array):
        wanted = ", ".join(["images", *(str(extent) for extent in shape[1:])])
        raise CalibrationError(
            f"calibration input '{name}' has shape {array.shape}, the model takes ({wanted}); "
            "reshape it, with at least one image along axis 0"
        )
    if integers and array.dtype.kind not in "iu":
        raise CalibrationError(
            f"calibration input '{name}' holds {array.dtype}, the model takes indices; give "
            "integers"
        )
    if integers:
        return array.astype(np.int64)
    if array.dtype.kind not in "fiu":
        raise CalibrationError(
            f"calibration input '{name}' holds {array.dtype}, real numbers are needed; convert it "
            "to float32"
        )
    values = array.astype(np.float32)
    if not np.all(np.isfinite(values)):
        image = int(np.argwhere(~np.isfinite(values))[0][0])
        raise CalibrationError(
            f"calibration input '{name}' holds NaN or infinity in image {image}; remove or repair "
            "that image"
        )
    return values


def seeded_batch(
    shapes: Mapping[str, tuple[int, ...]],
    seed: int,
    integers: Mapping[str, NDArray[np.integer]] = MappingProxyType({}),
) -> Data:
    """One standard-normal image for each input, drawn from `seed`; `integers` as they are."""
    random = np.random.default_rng(seed)
    return {
        name: integers[name]
        if name in integers
        else random.standard_normal(shape).astype(np.float32)
        for name, shape in shapes.items()
    }
