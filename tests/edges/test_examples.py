"""Every call that the help shows works, but for its ids: each is made in a repository where it has sense."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from codestrator.edges import cli, examples, topics
from codestrator.edges.context import Context
from codestrator.records import Message
from tests.actors import Actor, SteeredClock
from tests.conftest import git
from tests.edges.shell import Program
from tests.methods import crew
from tests.methods.test_landing import approved, work

NOT_IN_PROCESS = {"mcp", "demo", "completion", "watch"}  # played by tests of their own
CODEX = """case "$*" in *--version*) echo "codex-cli 0.50.0";; sandbox*) exit 1;; *) exec sleep 300;; esac"""


class Stage:
    """Plays the examples of a command; `known` says which id stands for each `case-…`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path) -> None:
        self.monkeypatch = monkeypatch
        self.capsys = capsys
        self.place = place
        self.known: dict[str, str] = {}

    def __call__(self, path: str, which: int | None = None) -> Any:
        """All examples of a command, or one of them; the last result."""
        found: Any = None
        for number, given in enumerate(examples.EXAMPLES[path]):
            if which in (None, number):
                found = self.type(f"{path} {given}")
        return found

    def type(self, line: str) -> Any:
        line = line.replace("$(git rev-parse HEAD)", git("rev-parse", "HEAD", at=self.place))
        words = [re.sub(r"([a-z]+-…b?)(\.\d)?", self._meant, word) for word in shlex.split(line)]
        self.monkeypatch.chdir(self.place)
        self.capsys.readouterr()
        status = cli.run([*words, *(() if "--json" in words else ("--json",))])
        told = self.capsys.readouterr().out
        assert status == 0, f"{line}: {told}"
        return json.loads(told)["result"]

    def _meant(self, found: re.Match[str]) -> str:
        return self.known.get(found[0]) or self.known[found[1]] + (found[2] or "")


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], root: Actor) -> Stage:
    """On the stage of a session that works in its worktree."""
    stage = Stage(monkeypatch, capsys, root.path)
    stage.known = {"ses-…": root.session, "wt-…": root.worktree, "thr-…": root.thread}
    return stage


def test_every_command_and_no_other_has_examples_and_each_is_played_here() -> None:
    nouns = {path for path in _commands(cli.program(), "") if path in topics.NOUNS}
    assert set(examples.EXAMPLES) - {""} >= set(_commands(cli.program(), "")) - nouns
    here = Path(__file__).read_text(encoding="utf-8")
    played = (
        set(re.findall(r'\bplay\("([^"]*)"', here)) | {"plan rollup reject", "plan rollup approve"} | NOT_IN_PROCESS
    )
    assert set(examples.EXAMPLES) == played


def _commands(command: Any, path: str) -> list[str]:
    """The words of every command and noun."""
    ctx = click.Context(command, obj=Context(), help_option_names=["-h", "--help"])
    if not isinstance(command, click.Group):
        return [path]
    below = [(command.get_command(ctx, word), f"{path} {word}".strip()) for word in command.list_commands(ctx)]
    return [*([path] if path else []), *(name for one, inner in below for name in _commands(one, inner))]


def test_the_help_of_every_command_shows_its_meaning_its_options_and_examples(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for path in _commands(cli.program(), ""):
        assert cli.run([*path.split(), "-h"]) == 0
        shown = capsys.readouterr().out
        usage, _, rest = shown.partition("\n\n  ")
        assert usage.startswith("Usage: ") and rest[0].isupper() and "--json" in rest
        assert f"Examples:\n  git codestrator {path}" in shown.replace("\\\n      ", "")
        bare = re.findall(r"\n  (--[a-z-]+(?: [A-Z]\S*)?)(?=\n  -)", shown)
        assert bare == [], f"{path}: no word on {bare}"
        assert [line for line in shown.splitlines() if len(line) > 80 and line[:4] != "  --"] == []


def test_setting_up_and_looking_around(play: Stage, root: Actor, origin: Path) -> None:
    for call in (
        play("workspace init"),
        play("init", 0),
        play("init", 1),
        play("runtime bundle info"),
        play("uninstall"),
    ):
        assert call
    play.type("session open --intent new_work --user-request x")
    play("")
    play("session open")
    for listed in (play("session list"), play("session"), play("status", 1), play("status", 0)):
        assert listed
    play("session heartbeat"), play("session context"), play("brief"), play("work brief")
    play("resume", 0), play("resume candidates list"), play("runtime tmux ensure")
    play("doctor"), play("doctor check"), play("journal list"), play("journal"), play("report")
    play("conflict forecast"), play("thread attach-info"), play("thread child list")
    play("scheduler decide-worktree")
    play("session close"), play("session cleanup")


def test_a_plan_worked_off(play: Stage, root: Actor) -> None:
    known = play.known
    known["epic-…"] = play("task create", 0)["task"]["id"]
    known["feat-…"] = play("task create", 1)["task"]["id"]
    known["case-…"] = play("task create", 2)["task"]["id"]
    assert [play("task list", 0)["count"], play("task list", 1)["count"], play("task")["count"]] == [1, 3, 3]
    assert len(play("task update")["task"]["steps"]) == 3
    assert play("task ready")["items"][0]["task"] and play("next")["task"] and play("task get")["task"]
    assert play("resume next")["task"]["id"] == play("case begin")["task"]["id"]
    play("step check")
    play.type("step check --case-id case-… --step-title 'tell the docs' --result pass")
    assert play("case complete")["task"]["status"] == "done"
    known["case-…"] = root.case("one")
    known["thr-….1"] = play("work current-ref")["current_ref"]["id"]
    play("work current-ref ack")
    (root.path / "form.txt").write_text("form\n", encoding="utf-8")
    play("work checkpoint"), play("task cancel")
    play("journal undo"), play("undo")


def test_locks_worktrees_and_snapshots(play: Stage, root: Actor) -> None:
    play.known["lock-…"] = play("lock acquire", 0)["lock"]["id"]
    play("lock acquire", 1), play("lock heartbeat"), play("lock list"), play("lock"), play("lock release")
    play("worktree create"), play("worktree list"), play("worktree")
    play.known["wt-…"] = play("worktree spawn")["worktree"]["id"]
    play("worktree merge-to-parent")
    (root.path / "new.txt").write_text("x", encoding="utf-8")
    root("work.checkpoint", summary="kept")
    play.known["snap-…"] = play("rescue list")["items"][0]["snapshot_id"]
    play("rescue"), play("rescue show"), play("rescue restore"), play("worktree remove")


def test_the_planning_graph(play: Stage, root: Actor, actor: Callable[..., Actor]) -> None:
    known = play.known
    known["node-…"] = play("graph node create", 0)["node"]["id"]
    known["node-…"], known["node-…b"] = play("graph node create", 1)["node"]["id"], known["node-…"]
    play("graph edge create"), play("graph checklist upsert"), play("graph snapshot create")
    known["node-…"] = play("plan bootstrap")["plan"]["id"]
    known["node-…"] = play("plan slice generate")["slices"][0]["id"]
    play("graph node list"), play("graph show"), play("plan slice replan"), play("plan rollup preview")
    architect = crew.child(actor, root, role="plan-architect")
    reviewer = crew.child(actor, root, role="merge-reviewer")
    play("plan rollup submit")
    reviewer("plan.rollup.reject", node_id=known["node-…"])
    for decided in ("plan rollup reject", "plan rollup approve"):
        architect("plan.rollup.submit", node_id=known["node-…"], summary="again")
        play(decided)


def test_review_and_landing(play: Stage, root: Actor, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    codex(program)
    known = play.known
    known["feat-…"] = work(root)
    known["mrq-…"] = play("merge request")["merge_request"]["id"]
    known["land-…"] = play("merge main request")["main_merge_request"]["id"]
    play("merge main cancel")
    known["mrq-…"] = play("merge request")["merge_request"]["id"]
    play("merge main request"), play("merge main next"), play("merge main status")
    play("merge main acquire-lock"), play("merge review-context"), play("merge main release-lock")
    reviewer = play("merge review request-auto")["thread"]["id"]
    play("merge review thread-status")
    root("thread.child.stop", thread_id=reviewer, terminate_pane=True)
    play("merge review verdict"), play("merge main land")
    approved(root, "b.txt")
    assert play("land")["landed"]


def codex(program: Program) -> None:
    """Programs that start and then wait, under the names that the examples use."""
    for name in ("codex", "my-agent"):
        place = program.folder / name
        place.write_text(f"#!/bin/sh\n{CODEX}\n", encoding="utf-8")
        place.chmod(0o755)


@pytest.mark.tmux
def test_children_and_messages(play: Stage, root: Actor, program: Program, actor: Callable[..., Actor]) -> None:
    if not shutil.which("tmux"):
        pytest.skip("tmux is not installed")
    codex(program)
    play.known["case-…"] = root.case("one")
    for number in (0, 1):
        play.known["thr-…"] = play("thread child spawn", number)["thread"]["id"]
        root("thread.child.wait_status", thread_id=play.known["thr-…"], target_statuses=["running"])
        play("thread child status"), play("thread child list"), play("thread directive list")
        if number:
            play("thread child directive"), play("thread child interrupt")
        play("thread child stop"), play("thread child wait-status")
    thread, place = crew.lettered(root)
    play.known["thr-…"] = thread.id
    for line in (play("inbox send"), play("inbox pending"), play("inbox list"), play("inbox")):
        assert line
    play.known["msg-…"] = next(iter(root.world.store.read().all(Message))).id
    play("inbox deliver")
    play.monkeypatch.setenv("CODESTRATOR_THREAD_FILE", str(place))
    play("thread child report")


def test_sharing_and_moving(
    play: Stage, root: Actor, origin: Path, tmp_path: Path, actor: Callable[..., Actor], clock: SteeredClock
) -> None:
    play.place = Path(root.world.repo)
    play("init", 2)
    play("sync run"), play("sync status"), play("sync"), play("mirror refresh"), play("mirror status")
    play.place = root.path
    play("handoff offer"), play("handoff")
    git("clone", "-q", str(origin), "elsewhere", at=tmp_path)
    play.place = tmp_path / "elsewhere"
    assert play("handoff take")["session"]["id"]


@pytest.mark.parametrize("by", ["resume", "resume candidates attach"])
def test_taking_up_what_was_left(by: str, play: Stage, actor: Callable[..., Actor], clock: SteeredClock) -> None:
    clock.advance(-7200)
    gone = actor()
    gone.open(user_request="Two hours ago")
    gone("case.begin", case_id=gone.case("one", "two"))
    gone.close()
    clock.advance(7200)
    play.known["ses-…"] = gone.session
    if by == "resume":
        play("resume", 1)
    else:
        play("resume candidates attach")
