"""A place that cannot be written is refused with what would make it writable."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from intaglio.errors import OutputError, write_whole, writing


@pytest.mark.parametrize(
    ("reason", "way_out"),
    [
        (errno.ENOSPC, "make room there"),
        (errno.ENOENT, "make the folder it is to lie in"),
        (errno.ENOTDIR, "make a folder of what it is to lie in"),
        (errno.EACCES, "allow writing there"),
        (errno.EROFS, "allow writing there"),
    ],
)
def test_the_way_out_follows_from_the_systems_reason(reason: int, way_out: str) -> None:
    with pytest.raises(OutputError) as caught, writing("'net'"):
        raise OSError(reason, os.strerror(reason))
    assert str(caught.value) == (
        f"cannot write 'net': {os.strerror(reason)}; {way_out} or name another place"
    )


def test_a_file_in_no_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none" / "bits.toml"
    with pytest.raises(OutputError) as caught:
        write_whole(path, "text")
    assert str(caught.value) == (
        f"cannot write '{path}': No such file or directory; make the folder it is to lie in or "
        "name another place"
    )
