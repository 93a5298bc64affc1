"""The agent that comes up while its runner still loads: from which file, tried how often, ended how."""

import queue
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from codestrator import ids, threadfiles
from codestrator.errors import External
from codestrator.runner.agent import AgentSettings, Events
from codestrator.runner.coming import Coming
from codestrator.runner.settings import early
from codestrator.threadfiles import ThreadFile
from tests.actors import Actor
from tests.runner.codexes import MARK, all_ended, marked

FAKE = Path(__file__).with_name("fake_app_server.py")
Change = Callable[[Path, ThreadFile], object]


@pytest.fixture
def file(root: Actor) -> ThreadFile:
    """A thread's private file, as a spawn leaves it."""
    found = ThreadFile(
        thread_id=ids.mint("thr"),
        session_id=root.session,
        token="a" * 40,
        role="worker",
        repo=str(root.world.repo),
        folder=str(root.path),
        runner_kind="codex_app_server",
        program=["codex"],
        override={"model": "large", "sandbox": "read-only", "idle_seconds": 7},
    )
    threadfiles.write(root.world.files, found)
    return found


def place_of(root: Actor, file: ThreadFile) -> Path:
    return Path(root.world.files.root / threadfiles.name_of(file.thread_id))


def test_an_agent_is_brought_up_from_the_private_file_alone(root: Actor, file: ThreadFile, repo: Path) -> None:
    found = early(repo, file.thread_id)
    assert found is not None and found[0] == "codex_app_server"
    settings = found[1]
    assert (settings.program, settings.folder, settings.model) == (["codex"], root.path, "large")
    assert (settings.sandbox, settings.idle_seconds) == ("read-only", 7)
    assert settings.instructions.startswith("# Worker")
    assert settings.environment["CODESTRATOR_THREAD_FILE"] == str(place_of(root, file))
    assert settings.mcp_command[-2:] == ["--thread-file", str(place_of(root, file))]
    assert settings.writable_roots[0] == str(repo / ".git") and Path(settings.writable_roots[1]).parent.name == (
        "worktrees"
    )
    settings.log("a line")
    assert (repo / ".git" / "codestrator" / "logs" / f"{file.thread_id}.wire").read_text(encoding="utf-8") == "a line\n"


def linked(place: Path, file: ThreadFile) -> None:
    place.rename(place.with_suffix(".x"))
    place.symlink_to(place.with_suffix(".x"))


UNFIT: dict[str, Change] = {
    "open to others": lambda place, file: place.chmod(0o644),
    "a link": linked,
    "damaged": lambda place, file: place.write_bytes(b"{"),
    "not there": lambda place, file: place.unlink(),
    "another's": lambda place, file: place.write_bytes(
        place.read_bytes().replace(file.thread_id.encode(), b"thr-0000000000", 1)
    ),
}


@pytest.mark.parametrize("unfit", UNFIT.values(), ids=UNFIT.keys())
def test_a_file_that_is_not_as_it_should_be_is_left_to_those_who_can_refuse_it(
    unfit: Change, root: Actor, file: ThreadFile, repo: Path
) -> None:
    unfit(place_of(root, file), file)
    assert early(repo, file.thread_id) is None


@pytest.mark.parametrize("changes", [{"guide_path": "docs/guide.md"}, {"program": [], "runner_kind": "command"}])
def test_a_guide_of_the_repository_and_a_plain_command_wait(
    changes: dict[str, Any], root: Actor, file: ThreadFile, repo: Path
) -> None:
    threadfiles.write(root.world.files, replace(file, **changes))
    assert early(repo, file.thread_id) is None
    assert early(repo, "../x") is None


def settings_of(repo: Path, tmp_path: Path, failures: int) -> AgentSettings:
    """A program that fails so often before it comes up."""
    tries, program = tmp_path / "tries", tmp_path / "codex"
    program.write_text(
        f"#!/bin/sh\necho >> '{tries}'\n"
        f"[ $(wc -l < '{tries}') -gt {failures} ] || exit 1\nexec '{sys.executable}' '{FAKE}' good\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    return AgentSettings(program=[str(program)], folder=repo, environment={MARK: tmp_path.name + str(tmp_path.stat())})


def tries(tmp_path: Path) -> int:
    return len((tmp_path / "tries").read_text(encoding="utf-8").splitlines())


def test_what_fails_soon_is_tried_again(repo: Path, tmp_path: Path) -> None:
    coming = Coming("codex_app_server", settings_of(repo, tmp_path, 2), queue.SimpleQueue())
    try:
        assert coming.agent() is not None and tries(tmp_path) == 3
    finally:
        coming.close()


def test_what_fails_always_says_so(repo: Path, tmp_path: Path) -> None:
    events: Events = queue.SimpleQueue()
    coming = Coming("codex_app_server", settings_of(repo, tmp_path, 99), events)
    with pytest.raises(External, match="did not come up"):
        coming.agent()
    assert tries(tmp_path) == 4 and events.empty()


def test_what_is_not_wanted_any_more_ends(repo: Path, tmp_path: Path) -> None:
    settings = settings_of(repo, tmp_path, 0)
    coming = Coming("codex_app_server", settings, queue.SimpleQueue())
    coming.agent()
    assert marked(settings.environment[MARK])
    coming.close()
    assert all_ended(settings.environment[MARK])
