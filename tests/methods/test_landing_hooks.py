"""Landing beside hooks and users that get in between: what git did decides, never what the landing had meant to do."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from codestrator.errors import CodestratorError
from codestrator.records import Land
from tests.actors import Actor
from tests.conftest import git
from tests.methods.test_landing import approved, main
from tests.methods.test_landing_faults import HERE, consistent
from tests.methods.test_worktrees import commit

LANDS = """
import sys
from pathlib import Path
from codestrator import registry
from codestrator.calls import Seat
from codestrator.world import open_world
registry.call(open_world(Path(sys.argv[1])), Seat("operator", session_id=sys.argv[2]), "merge.main.land")
"""


def hooked(repo: Path, *lines: str) -> Path:
    """A reference-transaction hook of the user; `$1` is the stage, and only what moves main runs the lines."""
    hook = repo / ".git" / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("\n".join(["#!/bin/sh", "grep -q refs/heads/main || exit 0", *lines, "exit 0", ""]))
    hook.chmod(0o755)
    return hook


class Pause:
    """A hook that says when it is there and goes on when it is told to."""

    def __init__(self, repo: Path, place: Path, *before: str) -> None:
        self._begun, self._go = place / "begun", place / "go"
        for fifo in (self._begun, self._go):
            os.mkfifo(fifo)
        wait = f"echo here > '{self._begun}'; read word < '{self._go}'"
        self.hook = hooked(repo, 'test "$1" = prepared || exit 0', *before, wait)

    def reached(self) -> None:
        with self._begun.open() as file:
            assert file.read() == "here\n"

    def go_on(self) -> None:
        self._go.write_text("go\n")


@contextmanager
def beside(act: Callable[[], Any]) -> Iterator[list[Any]]:
    """Run it in a thread; what it gave, or what it raised, is there at the end."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(act())
        except CodestratorError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield found
    thread.join(60)
    assert not thread.is_alive()


def two_sessions(actor: Callable[..., Actor]) -> tuple[Actor, Actor]:
    one, two = actor(), actor()
    one("workspace.init")
    one.open()
    two.open()
    return one, two


def test_git_that_outlives_its_killed_landing_does_half_of_nothing(
    actor: Callable[..., Actor], repo: Path, tmp_path: Path
) -> None:
    one, two = two_sessions(actor)
    item = approved(one)
    pause = Pause(repo, tmp_path)
    process = subprocess.Popen([sys.executable, "-c", LANDS, str(repo), one.session], cwd=HERE)
    pause.reached()
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    with beside(lambda: two("merge.main.acquire_lock")) as found:
        two.world.wait_for_change(0.5)
        pause.go_on()
    landed = consistent(two, item["id"])
    assert landed == isinstance(found[0], dict)
    if not landed:
        assert found[0].code == "lock_held"
        pause.hook.unlink()
        assert one("merge.main.land")["landed"]


def test_a_hook_that_takes_long_keeps_its_locks(actor: Callable[..., Actor], repo: Path, tmp_path: Path) -> None:
    one, two = two_sessions(actor)
    item = approved(one)
    old = " ".join(f"'{repo}/.git/refs/codestrator/{name}.lock'" for name in ("state", "locks"))
    pause = Pause(repo, tmp_path, f"touch -d '1 minute ago' {old}")
    with beside(lambda: one("merge.main.land")) as landed:
        pause.reached()
        with beside(lambda: two("task.create", level="epic", title="Meanwhile")) as made:
            two.world.wait_for_change(0.5)
            assert (repo / ".git/refs/codestrator/state.lock").exists()
            pause.go_on()
    assert made[0]["task"]["title"] == "Meanwhile"
    assert landed[0]["landed"]
    assert consistent(two, item["id"])


def test_git_that_ends_badly_after_it_moved_the_refs_has_landed(root: Actor, repo: Path) -> None:
    item = approved(root)
    hooked(repo, 'test "$1" = committed && kill -9 $PPID')
    assert root("merge.main.land")["landed"]
    assert consistent(root, item["id"])


MOVES_SOME = """
import os, signal, sys
from pathlib import Path
from codestrator import registry
from codestrator.calls import Seat
from codestrator.world import open_world
world = open_world(Path(sys.argv[1]))
inner = world.branches.move
def move(moves):
    inner(moves[:int(sys.argv[3])])
    os.kill(os.getpid(), signal.SIGKILL)
world.branches.move = move
registry.call(world, Seat("operator", session_id=sys.argv[2]), "merge.main.land")
"""


@pytest.mark.parametrize("moved", [1, 2])
def test_a_crash_between_two_refs_is_completed(actor: Callable[..., Actor], repo: Path, moved: int) -> None:
    one, two = two_sessions(actor)
    item = approved(one)
    process = subprocess.run(
        [sys.executable, "-c", MOVES_SOME, str(repo), one.session, str(moved)], cwd=HERE, check=False
    )
    assert process.returncode == -signal.SIGKILL
    if moved == 1:
        assert two("merge.main.acquire_lock")["main_lock"]["holder_session_id"] == two.session
    else:  # the lock of a landing that is done lapses, or is given back by its session
        assert one("merge.main.release_lock")["main_lock"]["state"] == "unlocked"
        two("merge.main.acquire_lock")
    assert consistent(two, item["id"])


def test_a_commit_of_the_user_in_between_keeps_what_it_holds(
    root: Actor, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    approved(root)
    inner = root.world.branches.bring_up
    seen: list[str] = []

    def bring_up(path: Path, old: str, new: str) -> None:
        inner(path, old, new)
        if not seen:
            seen.append(commit(repo, "own.txt"))

    monkeypatch.setattr(root.world.branches, "bring_up", bring_up)
    with pytest.raises(CodestratorError) as refused:
        root("merge.main.land")
    assert refused.value.code == "conflict"
    assert git("status", "--porcelain", at=repo) == ""
    assert git("ls-files", at=repo).split() == ["README.md", "a.txt", "own.txt"]
    assert root("merge.main.land")["landed"]
    assert git("status", "--porcelain", at=repo) == ""


def test_a_folder_whose_index_is_busy_is_brought_back_when_it_is_free(root: Actor, repo: Path) -> None:
    item = approved(root)
    before = main(root)
    lock = f"'{repo}/.git/index.lock'"
    refuses = f": > {lock}; (sleep 0.4; rm {lock}) > /dev/null 2>&1 < /dev/null & exit 1"
    hook = hooked(repo, f'test "$1" = prepared || exit 0; {refuses}')
    with pytest.raises(CodestratorError) as refused:
        root("merge.main.land")
    assert refused.value.code == "external"
    assert main(root) == before and not consistent(root, item["id"])
    hook.unlink()
    assert root("merge.main.land")["landed"]


def test_a_filter_that_fails_leaves_the_folder_as_it_was(root: Actor, repo: Path) -> None:
    (repo / ".gitattributes").write_text("*.big filter=big\n")
    commit(repo, "b.txt", "before\n")
    git("merge", "-q", "main", at=root.path)
    commit(root.path, "b.txt", "after\n")
    commit(root.path, "c.txt", "new\n")
    item = approved(root, "picture.big")
    for key, value in (("smudge", "false"), ("clean", "cat"), ("required", "true")):
        git("config", f"filter.big.{key}", value, at=repo)
    before = main(root)
    with pytest.raises(CodestratorError) as refused:
        root("merge.main.land")
    assert refused.value.code == "external"
    assert main(root) == before and not consistent(root, item["id"])
    git("config", "filter.big.smudge", "cat", at=repo)
    assert root("merge.main.land")["landed"]


def test_eight_others_write_while_a_hook_takes_a_second(actor: Callable[..., Actor], repo: Path) -> None:
    one = actor()
    one("workspace.init")
    one.open()
    item = approved(one)
    hooked(repo, 'test "$1" = prepared && sleep 1')
    others = [actor() for _ in range(8)]
    for other in others:
        other.open()
    ended, made = threading.Event(), [0] * 8
    errors: list[CodestratorError] = []

    def write(number: int) -> None:
        try:
            while not ended.is_set():
                others[number]("task.create", level="epic", title=f"{number}")
                made[number] += 1
        except CodestratorError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    try:
        assert one("merge.main.land")["landed"]
    finally:
        ended.set()
        for thread in threads:
            thread.join(60)
    assert errors == [] and min(made) >= 1
    assert consistent(one, item["id"])
    assert one.world.store.read().require(Land, item["id"]).state == "merged"


def test_a_checkout_that_git_was_killed_in_is_made_whole_by_the_next_call(root: Actor, repo: Path) -> None:
    (repo / ".gitattributes").write_text("*.big filter=big\n")
    commit(repo, "b.txt", "before\n")
    git("merge", "-q", "main", at=root.path)
    commit(root.path, "b.txt", "after\n")
    (root.path / "folder").mkdir()
    commit(root.path, "folder/c.txt", "new\n")
    item = approved(root, "picture.big")
    git("config", "filter.big.smudge", "kill -9 $PPID", at=repo)
    with pytest.raises(CodestratorError) as refused:
        root("merge.main.land")
    assert refused.value.code == "external"
    git("config", "--unset", "filter.big.smudge", at=repo)
    (repo / "own.txt").write_text("the user's\n")
    (repo / ".git" / "index.lock").unlink()  # as git tells its user to
    root("merge.main.acquire_lock")
    assert git("status", "--porcelain", at=repo) == "?? own.txt"
    (repo / "own.txt").unlink()
    assert not consistent(root, item["id"]) and not (repo / "folder").exists()
    assert root("merge.main.land")["landed"]
    assert consistent(root, item["id"])
