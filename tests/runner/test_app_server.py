"""The agent on `codex app-server`: the real one with a scripted model, and a false one for what the real never does."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from codestrator.errors import External
from codestrator.runner.agent import Gone, Said, Tokens, TurnEnded, TurnStarted
from codestrator.runner.app_server import AppServerAgent
from tests.conftest import ended
from tests.runner.codexes import (
    MARK,
    Ears,
    all_ended,
    codex_home,
    kill_codex,
    marked,
    need_sandbox,
    real_codex,
    settings_for,
)
from tests.scripted_model import ScriptedModel, Step, call, fail, say, shell, silence

FAKE = Path(__file__).with_name("fake_app_server.py")
# A shell whose children leave its session, as a server that an agent puts into the background does.
ESCAPING = "sh -c 'sleep 300 & setsid sleep 300 & nohup setsid sh -c \"sleep 300; true\" & wait'; true"
# Of a command that ends at once Codex at times tells nothing.
SPOKEN = "echo made; sleep 0.5; exit 3"
Make = Callable[..., AppServerAgent]


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
def make(ears: Ears, repo: Path) -> Iterator[Make]:
    """Make an agent of a program; it is closed with the test."""
    made = []

    def one(program: list[str], environment: dict[str, str], **chosen: object) -> AppServerAgent:
        settings = settings_for(ears, program, repo, environment)
        made.append(AppServerAgent(replace(settings, **chosen), ears.events))
        return made[-1]

    yield one
    for agent in made:
        agent.close()


@pytest.fixture
def fake(make: Make) -> Callable[..., AppServerAgent]:
    """The false app server in one of its modes, started."""

    def one(mode: str, mark: str = "", **chosen: object) -> AppServerAgent:
        agent = make([sys.executable, str(FAKE), mode], {MARK: mark}, **chosen)
        agent.start()
        return agent

    return one


class Real:
    """The real Codex, started with a script."""

    def __init__(self, agent: AppServerAgent, environment: dict[str, str], model: ScriptedModel) -> None:
        self.agent, self.model, self.environment = agent, model, environment
        self.mark = environment[MARK]

    def asked(self, nth: int = -1) -> str:
        """All that the model was told in a request."""
        return str(self.model.requests[nth]["input"])


@pytest.fixture
def real(make: Make, sealed: Path) -> Iterator[Callable[..., Real]]:
    models: list[ScriptedModel] = []

    def one(*steps: Step, silent_ms: int = 20000, **chosen: object) -> Real:
        codex = real_codex()
        chosen = {"sandbox": "danger-full-access"} | chosen
        if chosen["sandbox"] != "danger-full-access":
            need_sandbox(codex)
        models.append(ScriptedModel(steps).__enter__())
        environment = codex_home(sealed, models[-1].url, silent_ms)
        agent = make([codex], environment, **chosen)
        agent.start()
        return Real(agent, environment, models[-1])

    yield one
    for model in models:
        model.__exit__(None, None, None)


@pytest.mark.codex
def test_a_turn_says_what_happens_and_ends_with_the_last_words(real: Callable[..., Real], ears: Ears) -> None:
    codex = real(shell(SPOKEN), say("all done"))
    codex.agent.begin("do it")
    assert ears.until(TurnEnded) == TurnEnded("completed", "all done")
    assert next(one for one in ears.heard if isinstance(one, TurnStarted)).turn_id
    assert f"$ {SPOKEN}" in ears.said and "| made" in ears.said and "exit 3" in ears.said
    assert [one.used for one in ears.heard if isinstance(one, Tokens)][-1] == 36
    assert "do it" in codex.asked(0)


@pytest.mark.codex
def test_turns_share_one_conversation_and_the_instructions(real: Callable[..., Real], ears: Ears) -> None:
    codex = real(say("first answer"), say("second answer"), instructions="You are the worker of this case.")
    for prompt in ("first question" + " and more" * 30_000, "second question"):
        codex.agent.begin(prompt)
        ears.until(TurnEnded)
    assert "You are the worker of this case." in codex.asked(0)
    for words in ("first question", "first answer", "second question"):
        assert words in codex.asked()


@pytest.mark.codex
def test_codex_trusts_no_folder_because_of_us(real: Callable[..., Real], ears: Ears) -> None:
    codex = real(say("done"), sandbox="workspace-write")
    codex.agent.begin("go")
    ears.until(TurnEnded)
    config = Path(codex.environment["CODEX_HOME"]) / "config.toml"
    assert "trust_level" not in config.read_text(encoding="utf-8")


@pytest.mark.codex
@pytest.mark.parametrize("sandbox", ["workspace-write", "danger-full-access"])
@pytest.mark.parametrize("command", ["sleep 300", ESCAPING], ids=["shell", "escaping"])
def test_an_interrupted_command_leaves_nothing_and_the_next_turn_goes_on(
    command: str, sandbox: str, real: Callable[..., Real], ears: Ears
) -> None:
    codex = real(shell(command), say("patched"), sandbox=sandbox)
    codex.agent.begin("begin")
    ears.until_said("$ ")
    start = time.monotonic()
    codex.agent.interrupt()
    assert ears.until(TurnEnded).outcome == "interrupted"
    assert time.monotonic() - start < 10
    assert all(ended(pid, 5) for pid in marked(codex.mark, named="sleep"))
    assert marked(codex.mark, named="app-server")
    codex.agent.begin("do it the other way")
    assert ears.until(TurnEnded) == TurnEnded("completed", "patched")
    assert "turn_aborted" in codex.asked() and "do it the other way" in codex.asked()


@pytest.mark.codex
def test_a_turn_can_be_interrupted_as_soon_as_it_was_asked_for(real: Callable[..., Real], ears: Ears) -> None:
    codex = real(silence(), say("later"))
    codex.agent.begin("begin")
    codex.agent.interrupt()
    assert ears.until(TurnEnded, 12).outcome == "interrupted"
    codex.agent.begin("again")
    assert ears.until(TurnEnded).outcome == "completed"


@pytest.mark.codex
def test_the_agent_can_write_in_the_given_roots_and_nowhere_else(
    real: Callable[..., Real], ears: Ears, sealed: Path
) -> None:
    given, other = (Path("/var/tmp") / f"codestrator-{os.getpid()}-{name}" for name in ("given", "other"))
    for folder in (given, other):
        folder.mkdir()
    try:
        codex = real(
            shell(f"touch '{given}/a'; touch '{other}/b'"),
            say("done"),
            sandbox="workspace-write",
            writable_roots=[str(given)],
        )
        codex.agent.begin("go")
        ears.until(TurnEnded)
        assert (given / "a").exists() and not (other / "b").exists()
    finally:
        for folder in (given, other):
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()


@pytest.mark.codex
def test_our_tools_are_there_before_the_first_word(real: Callable[..., Real], ears: Ears) -> None:
    look = call("mcp__codestrator", "orch_session", lambda sent: {"method": "workspace.init", "params": {}})
    again = call("mcp__codestrator", "orch_task", lambda sent: {"method": "task.get", "params": {"task_id": "tsk-0"}})
    source = str(Path(__file__).parents[2])
    codex = real(
        look,
        again,
        say("done"),
        mcp_command=["env", f"PYTHONPATH={source}", sys.executable, "-m", "codestrator", "mcp"],
    )
    codex.agent.begin("go")
    assert ears.until(TurnEnded).outcome == "completed"
    assert '> codestrator.orch_session {"method":"workspace.init","params":{}}\n< completed' in ears.said
    assert "< failed: " in ears.said and "task_id" in ears.said


@pytest.mark.codex
def test_a_server_of_ours_that_does_not_come_up_is_a_bad_start(real: Callable[..., Real]) -> None:
    with pytest.raises(External, match="codestrator") as refused:
        real(say("never"), mcp_command=["false", "a b"])
    assert refused.value.hint == "Run the server by hand in the worktree: false 'a b'"


@pytest.mark.codex
@pytest.mark.parametrize(
    ("trouble", "lasting"),
    [
        (fail(500), False),
        (fail(429), False),
        (fail(401), True),
        (fail(400), True),
        (fail(200, "this is no stream"), False),
        (silence(), False),
    ],
    ids=["500", "429", "401", "400", "garbage", "silence"],
)
def test_a_model_in_trouble_fails_the_turn_and_not_the_agent(
    trouble: Step, lasting: bool, real: Callable[..., Real], ears: Ears
) -> None:
    troubled = True

    def first(sent: dict[str, object]) -> dict[str, object]:
        return (trouble if troubled else say("recovered"))(sent)

    codex = real(*[first] * 9, silent_ms=500)
    codex.agent.begin("go")
    end = ears.until(TurnEnded)
    assert (end.outcome, end.lasting) == ("failed", lasting) and end.error
    troubled = False
    codex.agent.begin("carry on")
    assert ears.until(TurnEnded) == TurnEnded("completed", "recovered")


@pytest.mark.codex
def test_a_model_that_is_down_fails_the_turn_and_says_so_meanwhile(real: Callable[..., Real], ears: Ears) -> None:
    codex = real(say("never"))
    codex.model.__exit__(None, None, None)
    codex.agent.begin("go")
    end = ears.until(TurnEnded)
    assert (end.outcome, end.lasting) == ("failed", False)
    assert "(tries again)" in ears.said


@pytest.mark.codex
def test_a_silent_model_is_given_up_when_the_idle_time_is_over(real: Callable[..., Real], ears: Ears) -> None:
    codex = real(silence(), idle_seconds=1.5)
    codex.agent.begin("go")
    assert ears.until(TurnEnded, 20) == TurnEnded("failed", error="silent for 1.5 s")


@pytest.mark.codex
def test_a_killed_server_is_told_and_its_conversation_goes_on(real: Callable[..., Real], ears: Ears) -> None:
    codex = real(shell(ESCAPING), say("came back"))
    codex.agent.begin("the assignment")
    ears.until_said("$ ")
    kill_codex(codex.mark)
    assert ears.until(Gone) == Gone(-signal.SIGKILL)
    assert all_ended(codex.mark)
    codex.agent.resume()
    codex.agent.begin("carry on")
    assert ears.until(TurnEnded) == TurnEnded("completed", "came back")
    assert "the assignment" in codex.asked()
    assert [type(one) for one in ears.ends()] == [Gone, TurnEnded]


@pytest.mark.codex
def test_a_conversation_that_codex_lost_begins_anew_with_all_that_was_asked(
    real: Callable[..., Real], ears: Ears
) -> None:
    codex = real(say("one"), say("two"), say("three"))
    codex.agent.begin("the assignment")
    ears.until(TurnEnded)
    kill_codex(codex.mark)
    ears.until(Gone)
    shutil.rmtree(Path(codex.environment["CODEX_HOME"]) / "sessions")
    codex.agent.resume()
    assert "the conversation begins anew" in ears.said
    for prompt, before in (("carry on", 1), ("and on", 1)):
        codex.agent.begin(prompt)
        ears.until(TurnEnded)
        assert codex.asked().count("the assignment") == before and prompt in codex.asked()


@pytest.mark.codex
def test_a_server_that_is_killed_as_soon_as_a_turn_was_asked_for_comes_back(
    real: Callable[..., Real], ears: Ears
) -> None:
    codex = real(say("one"), say("two"))
    codex.agent.begin("the assignment")
    kill_codex(codex.mark)
    ears.until(Gone)
    codex.agent.resume()
    codex.agent.begin("carry on")
    assert ears.until(TurnEnded).outcome == "completed"
    assert "the assignment" in codex.asked() and "carry on" in codex.asked()


@pytest.mark.codex
@pytest.mark.parametrize("sandbox", ["workspace-write", "danger-full-access"])
def test_nothing_outlives_a_killed_keeper(sandbox: str, real: Callable[..., Real], ears: Ears) -> None:
    codex = real(shell(ESCAPING), say("came back"), sandbox=sandbox)
    codex.agent.begin("go")
    ears.until_said("$ ")
    (keeper,) = marked(codex.mark, named="keeper.py")
    os.kill(keeper, signal.SIGKILL)
    assert ears.until(Gone) == Gone(-signal.SIGKILL)
    assert all_ended(codex.mark)
    codex.agent.resume()
    codex.agent.begin("carry on")
    assert ears.until(TurnEnded) == TurnEnded("completed", "came back")


@pytest.mark.codex
@pytest.mark.parametrize("command", ["sleep 300", ESCAPING], ids=["shell", "escaping"])
def test_closing_ends_all_that_runs(command: str, real: Callable[..., Real], ears: Ears) -> None:
    codex = real(shell(command))
    codex.agent.begin("go")
    ears.until_said("$ ")
    before = marked(codex.mark)
    start = time.monotonic()
    assert codex.agent.close() == 0
    assert time.monotonic() - start < 5
    assert len(before) > 2 and all_ended(codex.mark)
    assert ears.ends() == []


RUNNER = """
import queue, sys, json
from pathlib import Path
from codestrator.runner.agent import AgentSettings
from codestrator.runner.app_server import AppServerAgent
program, folder, environment, sandbox = json.loads(sys.argv[1])
events = queue.SimpleQueue()
agent = AppServerAgent(
    AgentSettings(program=[program], folder=Path(folder), environment=environment, sandbox=sandbox), events)
agent.start()
agent.begin("go")
while True:
    event = events.get(timeout=60)
    if "$ " in str(event):
        print("runs", flush=True)
"""


@pytest.mark.codex
@pytest.mark.parametrize("sandbox", ["workspace-write", "danger-full-access"])
@pytest.mark.parametrize("command", ["sleep 300", ESCAPING], ids=["shell", "escaping"])
def test_nothing_outlives_a_killed_runner(command: str, sandbox: str, repo: Path, sealed: Path) -> None:

    codex = real_codex()
    if sandbox == "workspace-write":
        need_sandbox(codex)
    with ScriptedModel([shell(command)]) as model:
        environment = codex_home(sealed, model.url)
        given = json.dumps([codex, str(repo), environment, sandbox])
        with subprocess.Popen([sys.executable, "-c", RUNNER, given], stdout=subprocess.PIPE, text=True) as runner:
            assert runner.stdout and runner.stdout.readline() == "runs\n"
            before = marked(environment[MARK])
            runner.kill()
        assert len(before) > 2
        assert all_ended(environment[MARK])


def test_garbage_is_logged_and_passed_over(fake: Callable[..., AppServerAgent], ears: Ears) -> None:
    fake("garbage").begin("go")
    assert ears.until(TurnEnded) == TurnEnded("completed", "after the garbage")
    assert "? the line before is no message" in ears.wire
    assert any(line.startswith("? the line before has another shape") for line in ears.wire)


def test_what_is_said_cannot_steer_the_terminal(fake: Callable[..., AppServerAgent], ears: Ears) -> None:
    fake("escapes").begin("go")
    ears.until(TurnEnded)
    shown = [one.text for one in ears.heard if isinstance(one, Said)]
    assert shown == ["plain words31m!\nnext", "  | ab\n  exit 3"]


def test_a_flood_is_cut_short_and_the_end_is_told(fake: Callable[..., AppServerAgent], ears: Ears) -> None:
    over = threading.Event()
    agent = fake("flood", log=lambda line: over.set() if '"turn/completed"' in line else None)
    agent.begin("go")
    assert over.wait(60)
    assert ears.until(TurnEnded).outcome == "completed"
    assert len(ears.heard) < 6000
    assert "? more was said than can be shown" in ears.said
    assert ears.ends() == [TurnEnded("completed", "line 29999 " + "x" * 100)]


def test_a_server_that_is_deaf_to_an_interrupt_is_ended_and_comes_back(
    fake: Callable[..., AppServerAgent], ears: Ears
) -> None:
    agent = fake("deaf")
    agent.begin("go")
    ears.until(TurnStarted)
    start = time.monotonic()
    agent.interrupt()
    assert time.monotonic() - start < 0.1
    assert ears.until(TurnEnded, 10) == TurnEnded("interrupted")
    assert time.monotonic() - start < 10
    agent.resume()
    agent.begin("again")
    ears.until(TurnStarted)
    assert any('"thread/resume"' in line for line in ears.wire)
    assert ears.ends() == [TurnEnded("interrupted")]


def test_a_turn_after_a_deaf_one_brings_the_program_up_by_itself(
    fake: Callable[..., AppServerAgent], ears: Ears
) -> None:
    agent = fake("deaf", idle_seconds=0.2)
    agent.begin("go")
    assert ears.until(TurnEnded, 12) == TurnEnded("failed", error="silent for 0.2 s")
    agent.begin("again")
    ears.until(TurnStarted)


def test_silence_is_ended_by_an_interrupt(fake: Callable[..., AppServerAgent], ears: Ears) -> None:
    fake("silent", idle_seconds=0.2).begin("go")
    assert ears.until(TurnEnded, 5) == TurnEnded("failed", error="silent for 0.2 s")
    assert any('"thread/backgroundTerminals/clean"' in line for line in ears.wire)


def test_a_program_that_dies_in_a_turn_is_gone_and_nothing_else(
    fake: Callable[..., AppServerAgent], ears: Ears
) -> None:
    fake("dies").begin("go")
    assert ears.until(Gone) == Gone(-signal.SIGKILL)
    assert ears.ends() == [Gone(-signal.SIGKILL)]


def test_a_program_that_was_gone_before_the_turn_is_told_once(fake: Callable[..., AppServerAgent], ears: Ears) -> None:
    mark = os.urandom(6).hex()
    agent = fake("plain", mark)
    kill_codex(mark)
    ears.until(Gone)
    agent.begin("go")
    assert ears.until(TurnEnded).outcome == "completed"
    assert [type(one) for one in ears.ends()] == [Gone, TurnEnded]


def test_a_program_that_stops_reading_fails_the_turn_and_is_replaced(
    fake: Callable[..., AppServerAgent], ears: Ears
) -> None:
    agent = fake("blind")
    agent.begin("go")
    ears.until(TurnEnded)
    agent.begin("again")
    assert ears.until(TurnEnded) == TurnEnded("failed", error="the program reads no more")
    agent.begin("and again")
    assert ears.until(TurnEnded).outcome == "completed"
    assert [type(one) for one in ears.ends()] == [TurnEnded] * 3


def test_a_log_that_cannot_be_written_stops_nothing(fake: Callable[..., AppServerAgent], ears: Ears) -> None:
    def full(line: str) -> None:
        raise OSError("no space left on device")

    fake("garbage", log=full).begin("go")
    assert ears.until(TurnEnded) == TurnEnded("completed", "after the garbage")


def test_a_program_that_fails_at_once_is_a_bad_start_with_its_words(
    fake: Callable[..., AppServerAgent], ears: Ears
) -> None:
    with pytest.raises(External, match="ended with status 3") as refused:
        fake("fails")
    assert refused.value.details["stderr_tail"] == "the configuration is broken"
    assert ears.ends() == []


def test_a_program_and_a_folder_that_are_not_there_are_named(make: Make, tmp_path: Path) -> None:
    with pytest.raises(External, match="'nothing-of-that-name' is not to be found"):
        make(["nothing-of-that-name"], {}).start()
    with pytest.raises(External, match="expected its worktree"):
        make([sys.executable], {}, folder=tmp_path / "gone").start()


def test_what_the_server_asks_is_declined(fake: Callable[..., AppServerAgent], ears: Ears) -> None:
    fake("asks").begin("go")
    ears.until(TurnEnded)
    assert '{"id": "q0", "result": {"decision": "decline"}}' in ears.said
    assert '"code": -32601' in ears.said


@pytest.mark.parametrize(
    ("kind", "lasting"),
    [("unauthorized", True), ("modelNotFound", True), ("serverOverloaded", False), ("other", False)],
)
def test_the_kind_of_an_error_says_whether_it_lasts(
    kind: str, lasting: bool, fake: Callable[..., AppServerAgent], ears: Ears
) -> None:
    fake("refuses").begin(kind)
    assert ears.until(TurnEnded) == TurnEnded("failed", error="no such model", lasting=lasting)


def test_a_stubborn_program_is_ended_with_all_it_started(make: Make, ears: Ears) -> None:
    mark = os.urandom(6).hex()
    agent = make([sys.executable, str(FAKE), "stubborn"], {MARK: mark})
    agent.start()
    before = marked(mark)
    start = time.monotonic()
    assert agent.close() == -signal.SIGKILL
    assert time.monotonic() - start < 5
    assert len(before) > 2 and all_ended(mark)


def test_a_turn_of_an_agent_that_is_closed_says_nothing(fake: Callable[..., AppServerAgent], ears: Ears) -> None:
    agent = fake("silent")
    agent.begin("go")
    ears.until(TurnStarted)
    agent.interrupt()
    agent.close()
    assert ears.ends() in ([], [TurnEnded("interrupted")])


def test_settings_are_given_to_the_program_as_they_are_meant(make: Make, ears: Ears, repo: Path) -> None:
    place = repo / "arguments"
    program = ["sh", "-c", 'printf "%s\\n" "$@" > "$OUT"', "sh"]
    agent = make(program, {"OUT": str(place)}, writable_roots=["/a b", "/c"], model="m", mcp_command=["x", "y"])
    with pytest.raises(External):
        agent.start()
    words = place.read_text(encoding="utf-8").splitlines()
    assert words[0] == "app-server" and 'model="m"' in words
    assert 'sandbox_workspace_write.writable_roots=["/a b","/c"]' in words
