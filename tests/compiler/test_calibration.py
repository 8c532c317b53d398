"""Calibration data that do not fit are refused in one sentence."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from intaglio.compiler.calibration import Method, check_calibration, read_arrays, seeded_batch
from intaglio.errors import CalibrationError, UsageError

SHAPES = {"image": (1, 3, 4, 4), "mask": (1, 2)}
IMAGE = np.zeros((5, 3, 4, 4))
MASK = np.zeros((5, 2))


def test_good_data_come_back_as_float32_in_input_order(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", mask=MASK.astype(np.uint8), image=IMAGE + 0.5)
    made = check_calibration(read_arrays(tmp_path / "data.npz"), SHAPES)
    assert list(made) == ["image", "mask"]
    assert {array.dtype for array in made.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(made["image"], IMAGE + 0.5)


def with_nan() -> NDArray[np.float64]:
    image = IMAGE.copy()
    image[3, 1, 2, 0] = np.nan
    return image


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        (
            {"imgae": IMAGE, "mask": MASK},
            "calibration key 'imgae' is no input of the model; did you mean 'image'?",
        ),
        (
            {"zzz": IMAGE, "mask": MASK},
            "calibration key 'zzz' is no input of the model; the inputs are image, mask",
        ),
        ({"image": IMAGE}, "calibration data lack input 'mask'; add an array under that key"),
        (
            {"image": IMAGE[:, :2], "mask": MASK},
            "calibration input 'image' has shape (5, 2, 4, 4), the model takes (images, 3, 4, 4); "
            "reshape it, with at least one image along axis 0",
        ),
        (
            {"image": IMAGE[:0], "mask": MASK},
            "calibration input 'image' has shape (0, 3, 4, 4), the model takes (images, 3, 4, 4); "
            "reshape it, with at least one image along axis 0",
        ),
        (
            {"image": with_nan(), "mask": MASK},
            "calibration input 'image' holds NaN or infinity in image 3; remove or repair that "
            "image",
        ),
        (
            {"image": IMAGE.astype(str), "mask": MASK},
            "calibration input 'image' holds <U32, real numbers are needed; convert it to float32",
        ),
        (
            {"image": IMAGE, "mask": MASK[:4]},
            "calibration inputs hold different numbers of images (image: 5, mask: 4); give each "
            "the same",
        ),
    ],
)
def test_data_that_do_not_fit(arrays: dict[str, NDArray[np.generic]], sentence: str) -> None:
    with pytest.raises(CalibrationError) as caught:
        check_calibration(arrays, SHAPES)
    assert str(caught.value) == sentence


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "EOFError"),
        (b"PK\x03\x04 rest", "BadZipFile"),
        (b"text", "ValueError"),
        (npy(), "TypeError"),
    ],
)
def test_a_file_that_is_no_npz(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_arrays(path)
    assert str(caught.value) == (
        f"{path}: is no readable .npz file ({kind}); write it with numpy.savez, one array for "
        "each input"
    )


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(UsageError) as caught:
            read_arrays(path)
        assert str(caught.value) == (
            f"{path}: there is no such file; give the path of an .npz file"
        )


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", image=np.array([{}], dtype=object))
    with pytest.raises(UsageError, match=r"is no readable \.npz file \(ValueError\)"):
        read_arrays(tmp_path / "data.npz")


def test_the_seeded_batch_depends_on_the_seed_alone() -> None:
    first, again, other = (seeded_batch(SHAPES, seed) for seed in (0, 0, 1))
    assert first["image"].shape == (1, 3, 4, 4)
    np.testing.assert_array_equal(first["image"], again["image"])
    assert not np.array_equal(first["image"], other["image"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"observer": "msee"}, "'msee' is no observer; did you mean 'mse'?"),
        ({"observer": "x"}, "'x' is no observer; choose one of minmax, percentile, mse"),
        ({"rounding": "up"}, "'up' is no rounding; choose one of nearest, compensated"),
        (
            {"percentile": 5.5},
            "a percentile of 5.5 is outside 50 to 100; choose one near 99.99",
        ),
    ],
)
def test_a_method_that_does_not_exist(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        Method(**options)
    assert str(caught.value) == sentence
