"""A project made ready by `init --codex` alone: the real Codex finds skill and server, and is told where it was."""

import json
import os
import queue
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from codestrator.edges import plain
from codestrator.edges.codex import guidance, hook, shipped
from codestrator.runner.rpc import Ears, Json, Rpc
from tests.actors import Actor
from tests.conftest import git
from tests.edges.shell import Program, Run, result
from tests.journeys.codex_crew import ROOT, Models, nothing_runs, ours, returned
from tests.journeys.codex_crew import run as shell
from tests.journeys.test_landing import review
from tests.runner.codexes import need_sandbox, real_codex
from tests.scripted_model import UNATTENDED, Step, codex_config, outputs, say

pytestmark = [pytest.mark.codex, pytest.mark.tmux]
SECONDS = 90
REVIEWER = "reviewer"


class Conversation:
    """One conversation with Codex's app-server, as its own programs have it."""

    def __init__(self, codex: str, repo: Path, environment: dict[str, str]) -> None:
        self.heard: queue.Queue[tuple[str, Json]] = queue.Queue()
        self.told: list[str] = []
        self._program = [codex, "app-server"], repo, environment
        self.rpc = self._up()
        self.id = ""

    def _up(self) -> Rpc:
        def heard(method: str, params: Json) -> None:
            self.heard.put((method, params))

        rpc = Rpc(*self._program, Ears(heard, lambda *asked: None, lambda *ended: None, lambda line: None))
        client = {"clientInfo": {"name": "tests", "title": "tests", "version": "1"}, "capabilities": {}}
        rpc.call("initialize", client, SECONDS)
        rpc.notify("initialized")
        return rpc

    def trust_hooks(self, repo: Path) -> list[str]:
        """What a person does with /hooks: look at each and trust it; their commands."""
        listed = self.rpc.call("hooks/list", {"cwds": [str(repo)]}, SECONDS)["data"][0]["hooks"]
        assert {one["trustStatus"] for one in listed} == {"untrusted"}
        state = {one["key"]: {"trusted_hash": one["currentHash"]} for one in listed}
        edit = {"keyPath": "hooks.state", "value": state, "mergeStrategy": "upsert"}
        self.rpc.call("config/batchWrite", {"edits": [edit]}, SECONDS)
        again = self.rpc.call("hooks/list", {"cwds": [str(repo)]}, SECONDS)["data"][0]["hooks"]
        assert {one["trustStatus"] for one in again} == {"trusted"}
        return [one["command"] for one in again]

    def start(self) -> None:
        opened = self.rpc.call("thread/start", {"approvalPolicy": "never", "sandbox": "workspace-write"}, SECONDS)
        self.id = opened["thread"]["id"]

    def turn(self, words: str) -> None:
        given = {"threadId": self.id, "input": [{"type": "text", "text": words}]}
        self.rpc.call("turn/start", given, SECONDS)
        assert self._ended()["status"] == "completed"

    def compact(self) -> None:
        self.rpc.call("thread/compact/start", {"threadId": self.id}, SECONDS)
        assert self._ended()["status"] == "completed"

    def again(self) -> None:
        """Kill it, and load the conversation into a new process."""
        self.end()
        self.rpc = self._up()
        self.rpc.call("thread/resume", {"threadId": self.id, "excludeTurns": True}, SECONDS)

    def _ended(self) -> Json:
        while True:
            method, params = self.heard.get(timeout=SECONDS)
            if "arning" in method or method == "error":
                self.told.append(f"{method} {params}")
            if method == "turn/completed":
                turn: Json = params["turn"]
                return turn

    def end(self) -> None:
        self.rpc.program.end()


@pytest.fixture
def talk(repo: Path, run: Run, sealed: Path, program: Program) -> Iterator[Callable[[Models], Conversation]]:
    """Make the project ready, trust it and its hook as a person would, and begin a conversation."""
    made: list[Conversation] = []

    def begin(model: Models) -> Conversation:
        codex = real_codex()
        need_sandbox(codex)
        (program.folder / "codex").symlink_to(codex)
        git("config", "codestrator.tmuxSocket", f"{place}/s", at=repo)
        result(run("init", "--codex", "--json"))
        git("add", ".agents", ".codex", "AGENTS.md", at=repo)
        git("commit", "-qm", "codex", at=repo)
        home = sealed / "codex"
        home.mkdir()
        trusted = f'[projects.{json.dumps(str(repo))}]\ntrust_level = "trusted"\n'
        config = codex_config(model.url, model=ROOT, top=UNATTENDED, silent_ms=60_000, tables=trusted)
        # The key that `init --codex` has Codex pass on, so that children have it too.
        (home / "config.toml").write_text(config.replace("SCRIPTED_KEY", "OPENAI_API_KEY"), encoding="utf-8")
        environment = os.environ | {"CODEX_HOME": str(home), "OPENAI_API_KEY": "none"}
        made.append(Conversation(codex, repo, environment))
        assert made[0].trust_hooks(repo) == [hook.ENTRY["hooks"][0]["command"]]
        made[0].start()
        return made[0]

    with tempfile.TemporaryDirectory(prefix="cs", dir="/tmp") as place:
        yield begin
        for one in made:
            one.end()
        subprocess.run(["tmux", "-S", f"{place}/s", "kill-server"], capture_output=True, check=False)


def said(sent: Json, role: str) -> list[str]:
    """The texts of one role that the model was given."""
    parts = [item["content"] for item in sent["input"] if item.get("role") == role]
    return ["".join(part.get("text", "") for part in one) if isinstance(one, list) else one for one in parts]


def briefs(sent: Json) -> list[str]:
    return [one for one in said(sent, "developer") if one.startswith("codestrator: ")]


class Story:
    """The root's calls. What later ones need of earlier ones is kept here: a compaction takes it from the model."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def then(self, method: str, params: Callable[[], Json] = dict, **keeps: str) -> Step:
        """A call; `keeps` are dotted ways into what the call before it returned."""

        def fill(sent: Json) -> Json:
            for name, way in keeps.items():
                self.kept[name] = str(plain.at(returned(sent, -1), way))
            return params()

        return ours(method, fill)

    def before(self) -> list[Step]:
        """Up to the first of two steps."""
        merges = shlex.join([sys.executable, "-P", "-m", "codestrator", "worktree", "merge-to-parent"])
        kept, then = self.kept, self.then
        case = {"level": "case", "title": "Refresh", "steps": ["fail first", "make it pass"]}
        child = {"title": "Helper", "role": "worker", "launch_command": merges}
        return [
            then("workspace.init"),
            then("scheduler.decide_worktree", lambda: {"changed_files": 2, "parallel_workers": 1}),
            then("session.open", lambda: {"intent": "new_work", "user_request": "Fix the login timeout"}),
            then("task.create", lambda: {"level": "feature", "title": "Login"},
                 session="session_context.session.id", path="session_context.session_root_worktree.path"),
            then("task.create", lambda: case | {"parent_id": kept["feature"]}, feature="task.id"),
            then("thread.child.spawn", lambda: child, case="task.id"),
            then("thread.child.wait_status", lambda: {"thread_id": kept["child"], "target_statuses": ["completed"]},
                 child="thread.id"),
            then("case.begin", lambda: {"case_id": kept["case"]}),
            then("step.check", lambda: {"case_id": kept["case"], "step_title": "fail first", "result": "pass"}),
            say("the first step is done"),
        ]  # fmt: skip

    def after(self) -> list[Step]:
        """What the brief names, and on to the landing."""
        kept, then = self.kept, self.then
        review = {"runner_kind": "codex_app_server", "agent_override": {"model": REVIEWER}}
        return [
            lambda sent: shell(f"echo renewed >{kept['path']}/cookie.txt")(sent),
            lambda sent: ours("step.check", {"step_id": next_step(briefs(sent)[-1]), "result": "pass"})(sent),
            then("work.checkpoint", lambda: {"summary": "renewed", "commit_message": "keep the cookie"}),
            then("case.complete", lambda: {"case_id": kept["case"], "summary": "cookie is renewed"}),
            then("merge.main.request"),
            then("merge.main.acquire_lock"),
            then("merge.review.request_auto", lambda: review),
            then("thread.child.wait_status", lambda: {"thread_id": kept["reviewer"], "target_statuses": ["completed"]},
                 reviewer="thread.id", job="review_job.id"),
            then("merge.review.thread_status", lambda: {"review_job_id": kept["job"]}),
            then("merge.main.land"),
            then("merge.main.release_lock"),
            say("all is done"),
        ]  # fmt: skip


def next_step(told: str) -> str:
    found = re.search(r"step_id: (case-\w{10}\.\d+)", told)
    assert found, told
    return found[1]


def returns(model: Models) -> list[Json]:
    """What all calls of the root have returned, each once."""
    found = {item["call_id"]: item for sent in model.sent_by(ROOT) for item in sent["input"] if "output" in item}
    texts = [outputs({"input": [item]})[0].partition("Output:\n")[2] for item in found.values()]
    return [json.loads(one) for one in texts if one.startswith("{")]


def test_codex_works_by_skill_is_compacted_and_goes_on_with_the_next_unchecked_step(
    talk: Callable[[Models], Conversation], actor: Callable[..., Actor], repo: Path
) -> None:
    story = Story()
    compaction = [say("A login timeout is being fixed.")]
    with Models(root=[*story.before(), *compaction, *story.after()], reviewer=review()) as model:
        codex = talk(model)
        codex.turn("Use codestrator to fix the login timeout")
        codex.compact()
        codex.turn("go on")
        assert [one for one in codex.told if re.search(r"codestrator|hook|skill|\.codex|\.agents", one)] == []
    first = model.sent_by(ROOT)[0]
    skills = "".join(said(first, "developer"))
    for name in shipped.ROLE_OF:
        assert f"- {name}: " in skills and f"{name}/SKILL.md" in skills
    assert guidance.BLOCK.strip() in "".join(said(first, "user"))
    assert briefs(first) == []  # a new conversation in a new repository: nothing to tell
    refused = [one for one in returns(model) if "code" in one]
    assert refused == []
    (told,) = briefs(model.sent_by(ROOT)[-1])
    assert story.kept["session"] in told and "make it pass" in told and "fail first" not in told
    case = actor("operator")("task.get", task_id=story.kept["case"])["task"]
    assert (case["status"], [step["attempts"] for step in case["steps"]]) == ("landed", [1, 1])
    assert git("show", "main:cookie.txt", at=repo) == "renewed"
    log = git("log", "--format=%s %(trailers:key=Actor,valueonly)", "refs/codestrator/state", at=repo)
    # The reviewer has a server of its own, although its worktree has the root's in its configuration.
    assert re.search(rf"^merge\.review\.verdict .*{story.kept['reviewer']}", log, re.MULTILINE)
    assert nothing_runs([story.kept["child"], story.kept["reviewer"]])


def test_a_conversation_that_is_resumed_takes_its_session_up_again(
    talk: Callable[[Models], Conversation], actor: Callable[..., Actor]
) -> None:
    story = Story()
    kept, then = story.kept, story.then
    case = {"level": "case", "title": "Refresh", "steps": ["fail first", "make it pass"]}
    script = [
        then("workspace.init"),
        then("session.open", lambda: {"user_request": "Fix the login timeout"}),
        then("task.create", lambda: {"level": "feature", "title": "Login"}, session="session_context.session.id"),
        then("task.create", lambda: case | {"parent_id": kept["feature"]}, feature="task.id"),
        then("case.begin", lambda: {"case_id": kept["case"]}, case="task.id"),
        then("step.check", lambda: {"case_id": kept["case"], "step_title": "fail first", "result": "pass"}),
        say("the first step is done"),
        lambda sent: ours("work.brief", {"session_id": re.search(r"ses-\w{10}", briefs(sent)[-1])[0]})(sent),  # type: ignore[index]
        lambda sent: ours("step.check", {"step_id": next_step(briefs(sent)[-1]), "result": "pass"})(sent),
        then("case.complete", lambda: {"case_id": kept["case"], "summary": "renewed"}),
        say("all is done"),
    ]
    with Models(root=script) as model:
        codex = talk(model)
        codex.turn("Use codestrator to fix the login timeout")
        codex.again()
        codex.turn("go on")
    assert [one for one in returns(model) if "code" in one] == []
    assert actor("operator")("task.get", task_id=kept["case"])["task"]["status"] == "done"
    sessions = actor("operator")("session.list", include_closed=True)["items"]
    assert [one["session"]["id"] for one in sessions] == [kept["session"]]
