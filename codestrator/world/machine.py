"""The id of this clone among all that share its state, kept in a private file together with where the clone lies."""

import contextlib
import os
from pathlib import Path

from codestrator import ids
from codestrator.errors import External
from codestrator.world.files import PrivateFiles

NAME = "machine"


def read_machine(files: PrivateFiles, *, mint: bool) -> str | None:
    """Minted once, if at all; a clone that was moved keeps its id, a copy of a clone gets one of its own.

    Two clones of one id would take each other's sessions, and the worktrees of these, for their own.
    """
    found = files.read(NAME)
    if found is None:
        return _minted(files) if mint else None
    machine, place = _parts(found)
    if place == str(files.root):
        return machine
    if place and _is_copy(machine, Path(place), files.root):
        machine = ids.body_of(f"{machine} {files.root}")  # the same for all who find out at this moment
    if mint:
        with contextlib.suppress(External):  # a disk that is only read
            files.write(NAME, _line(machine, files.root))
    return machine


def _minted(files: PrivateFiles) -> str:
    """Two processes that mint at the same time agree on one."""
    minted = ids.mint_body()
    aside = files.root / f"{NAME}.{minted}"
    files.write(aside.name, _line(minted, files.root))
    try:
        (files.root / NAME).hardlink_to(aside)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        files.write(NAME, _line(minted, files.root))
    finally:
        aside.unlink(missing_ok=True)
    return _parts(files.read(NAME) or b"")[0]


def _is_copy(machine: str, original: Path, here: Path) -> bool:
    """Whether a clone of that id still lies where this one's file says, and is not this one by another path."""
    try:
        there = (original / NAME).read_bytes()
        return _parts(there)[0] == machine and not (original / NAME).samefile(here / NAME)
    except OSError:
        return False


def _line(machine: str, place: Path) -> bytes:
    return f"{machine} ".encode() + os.fsencode(place) + b"\n"


def _parts(content: bytes) -> tuple[str, str]:
    machine, _, place = content.removesuffix(b"\n").partition(b" ")
    return machine.decode("utf-8", "replace").strip(), os.fsdecode(place)
