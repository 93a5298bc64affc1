"""The private file of a child: what makes it prove nothing."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codestrator import seats, threadfiles
from codestrator.errors import Forbidden, WrongState
from codestrator.records import Thread
from codestrator.threadfiles import ThreadFile
from tests.actors import Actor
from tests.conftest import git
from tests.methods import crew


def write(place: Path, found: ThreadFile, **changes: Any) -> None:
    place.write_bytes(json.dumps({name: getattr(found, name) for name in found.__struct_fields__} | changes).encode())


def another(root: Actor) -> tuple[Thread, Path]:
    return crew.lettered(root)


def elsewhere(root: Actor, place: Path, name: str) -> Path:
    """The same content at another place, closed to others."""
    found = root.world.repo / name
    found.write_bytes(place.read_bytes())
    found.chmod(0o600)
    return found


def linked(place: Path, *, to: Path) -> None:
    place.rename(to)
    place.symlink_to(to)


def swapped(root: Actor, place: Path) -> None:
    _, theirs = another(root)
    place.write_bytes(theirs.read_bytes())


def of_the_root(root: Actor, found: ThreadFile) -> Path:
    return threadfiles.write(root.world.files, ThreadFile(**_fields(found) | {"thread_id": root.thread}))


def _fields(found: ThreadFile) -> dict[str, Any]:
    return {name: getattr(found, name) for name in found.__struct_fields__}


def a_folder(place: Path) -> None:
    place.unlink()
    place.mkdir()


def a_pipe(place: Path) -> None:
    place.unlink()
    os.mkfifo(place, 0o600)


FAULTS: dict[str, Callable[[Actor, Path, ThreadFile], object]] = {
    "it is missing": lambda root, place, found: place.unlink(),
    "it is empty": lambda root, place, found: place.write_bytes(b""),
    "it is no JSON": lambda root, place, found: place.write_text("not json"),
    "it is cut off": lambda root, place, found: place.write_bytes(place.read_bytes()[:-9]),
    "its token is wrong": lambda root, place, found: write(place, found, token="0000000000"),
    "its token is missing": lambda root, place, found: write(place, found, token=None),
    "its token is the hash": lambda root, place, found: write(place, found, token=threadfiles.token_hash(found.token)),
    "it names another thread": lambda root, place, found: write(place, found, thread_id=another(root)[0].id),
    "it is the file of another thread": lambda root, place, found: swapped(root, place),
    "it has the token of another thread": lambda root, place, found: write(
        place, found, token=json.loads(another(root)[1].read_bytes())["token"]
    ),
    "it names the root's thread": lambda root, place, found: of_the_root(root, found),
    "it names a thread that is unknown": lambda root, place, found: threadfiles.write(
        root.world.files, ThreadFile(**_fields(found) | {"thread_id": "thr-0000000000"})
    ),
    "it is of another repository": lambda root, place, found: write(place, found, repo="/srv/elsewhere"),
    "it lies elsewhere": lambda root, place, found: elsewhere(root, place, place.name),
    "it has another name": lambda root, place, found: place.rename(place.with_name("mine.json")),
    "it is a link": lambda root, place, found: linked(place, to=root.world.repo / "moved.json"),
    "it is a folder": lambda root, place, found: a_folder(place),
    "it is a pipe": lambda root, place, found: a_pipe(place),
    "others may read it": lambda root, place, found: place.chmod(0o644),
    "its group may write it": lambda root, place, found: place.chmod(0o620),
    "its folder is a link": lambda root, place, found: linked(place.parent, to=root.world.repo / "threads"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_private_file_proves_nothing_when(fault: str, root: Actor) -> None:
    _, place = crew.lettered(root)
    found = threadfiles.read(root.world.files, place)
    assert seats.child_seat(root.world, place).thread_id == found.thread_id
    moved = FAULTS[fault](root, place, found)
    place = moved if isinstance(moved, Path) else place
    with pytest.raises(Forbidden) as refused:
        seats.child_seat(root.world, place)
    assert refused.value.hint and found.token not in str(refused.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_private_file_of_another_user_proves_nothing(root: Actor) -> None:
    _, place = crew.lettered(root)
    os.chown(place, 12345, -1)
    with pytest.raises(Forbidden, match="12345"):
        seats.child_seat(root.world, place)


def test_a_private_file_found_through_a_relative_place_or_a_linked_folder_is_good(
    root: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread, place = crew.lettered(root)
    (tmp_path / "short").symlink_to(root.world.repo)
    monkeypatch.chdir(root.world.repo)
    for one in (place.relative_to(root.world.repo), tmp_path / "short" / place.relative_to(root.world.repo)):
        assert seats.child_seat(root.world, one).thread_id == thread.id


def test_the_file_of_one_repository_proves_nothing_in_a_copy_or_a_clone(
    root: Actor, actor: Callable[..., Actor], tmp_path: Path
) -> None:
    _, place = crew.lettered(root)
    git("clone", "-q", "--mirror", str(root.world.repo), "clone/.git", at=tmp_path)
    git("config", "core.bare", "false", at=tmp_path / "clone")
    (tmp_path / "copy").mkdir()
    git("clone", "-q", "--mirror", str(root.world.repo), "copy/.git", at=tmp_path)
    git("config", "core.bare", "false", at=tmp_path / "copy")
    git("config", "codestrator.machine", root.world.settings.machine, at=tmp_path / "copy")
    for name in ("clone", "copy"):
        there = actor(folder=tmp_path / name)
        mine = threadfiles.write(there.world.files, threadfiles.read(root.world.files, place))
        for one in (mine, place):
            with pytest.raises(Forbidden):
                seats.child_seat(there.world, one)


def test_the_file_of_a_thread_that_has_ended_or_moved_is_refused_with_its_state(root: Actor) -> None:
    thread, place = crew.lettered(root)
    crew.put(root, root.world.store.read().require(Thread, thread.id).but(status="stopped"))
    with pytest.raises(WrongState, match=f"'{thread.id}' is 'stopped'"):
        seats.child_seat(root.world, place)
    thread, place = crew.lettered(root, machine="0000000000")
    with pytest.raises(Forbidden, match="machine"):
        seats.child_seat(root.world, place)
