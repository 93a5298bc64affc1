"""What stays on the machine: how a child was started, what it was told, what proves who it is."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codestrator import threadfiles
from codestrator.errors import Forbidden
from codestrator.records import Thread
from codestrator.world.processes import send
from tests.conftest import ended
from tests.machines import Joins, Machine
from tests.methods.family import working_for
from tests.methods.offers import half_done, offered, take
from tests.methods.test_worktrees import spawned
from tests.remotes import Serve

COMMAND, PROMPT = "sh -c 'cat >/dev/null' commandword", "promptword: do it"


@pytest.fixture
def parent(serve: Serve, machine: Joins) -> Iterator[tuple[Any, Machine]]:
    """A machine whose children end with the test, and its hub."""
    host = serve()
    one = machine(host)
    yield host, one
    for pid in working_for(one.folder):
        send(pid, signal.SIGKILL)
        assert ended(pid)


def everything_in(host: Any) -> str:
    command = ["git", "cat-file", "--batch", "--batch-all-objects"]
    return subprocess.run(command, cwd=host.hub, capture_output=True, check=True).stdout.decode(errors="replace")


def test_nothing_private_travels_and_a_child_is_started_with_what_is_given_anew(
    parent: tuple[Any, Machine], machine: Joins
) -> None:
    host, one = parent
    two = machine(host)
    place, folder = spawned(one, "errand")
    (one.path / ".gitignore").write_text("*.secret\n")
    (one.path / "key.secret").write_text("ignoredword\n")
    given = {"launch_command": COMMAND, "initial_prompt": PROMPT, "ensure_tmux": False, "worktree_id": place}
    child = one("thread.child.spawn", title="Errand", **given)["thread"]
    file = threadfiles.find(one.world.files, child["id"])
    assert (file.launch_command, file.prompt) == (COMMAND, PROMPT)
    (folder / "begun.txt").write_text("by the child\n")
    offered(one, stop_children=True)
    there = everything_in(host)
    assert "by the child" in there and child["id"] in there
    private = ("commandword", "promptword", "ignoredword", file.token)
    assert [word for word in private if word in there] == []
    found = take(two, one)
    (errand,) = (item["path"] for item in found["worktrees"] if item["worktree_id"] == place)
    assert (Path(errand) / "begun.txt").read_text() == "by the child\n"
    with pytest.raises(Forbidden):
        two("thread.child.directive", thread_id=child["id"], directive="anew", mode="restart")
    assert not (two.world.files.root / "threads").exists()
    again = two("thread.child.spawn", title="Errand", worktree_id=place, launch_codex=False, ensure_tmux=False)
    assert again["thread"]["session_id"] == two.session and again["thread"]["worktree_id"] == place


def test_children_of_a_machine_that_is_away_end_as_handed_off(parent: tuple[Any, Machine], machine: Joins) -> None:
    host, one = parent
    two = machine(host)
    half_done(one.path)
    place, _ = spawned(one, "errand")
    child = one("thread.child.spawn", title="Errand", worktree_id=place, launch_codex=False, ensure_tmux=False)
    one("work.checkpoint", summary="half way")
    one.sync()
    take(two, one, force=True, reason="its machine is gone")
    thread = two.world.store.read().require(Thread, child["thread"]["id"])
    assert (thread.status, thread.reason, thread.title, thread.worktree_id) == ("failed", "handed off", "Errand", place)
