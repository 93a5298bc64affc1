"""Private files are whole or not there, and for the user alone."""

import os
from pathlib import Path

import pytest

from codestrator.errors import External
from codestrator.world.files import PrivateFiles


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    files = PrivateFiles(tmp_path / "private ä")
    assert files.read("a/b") is None
    files.write("a/b", b"one")
    files.write("a/b", b"two")
    assert files.read("a/b") == b"two"
    assert [one.name for one in (files.root / "a").iterdir()] == ["b"]


def test_files_and_folders_are_for_the_user_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        files = PrivateFiles(tmp_path / "private")
        files.write("inner/token", b"secret")
    finally:
        os.umask(old)
    assert files.root.stat().st_mode & 0o777 == (files.root / "inner").stat().st_mode & 0o777 == 0o700
    assert (files.root / "inner" / "token").stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    files = PrivateFiles(tmp_path / "private")
    files.write("name/inner", b"x")
    with pytest.raises(External, match="could not be written"):
        files.write("name", b"a folder is in the way")
    with pytest.raises(External, match="could not be written"):
        files.write("name/inner/below", b"a file is in the way")
    assert files.read("name/inner") == b"x" and files.read("name/inner/below") is None
    with pytest.raises(External, match="could not be read"):
        files.read("name")
    assert [one.name for one in files.root.iterdir()] == ["name"]
