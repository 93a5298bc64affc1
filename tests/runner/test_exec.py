"""The agent on `codex exec`: a process a turn, one conversation, nothing left after an interrupt or an end."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from codestrator.errors import External
from codestrator.runner.agent import Gone, Tokens, TurnEnded, TurnStarted
from codestrator.runner.exec import ExecAgent
from tests.runner.codexes import (
    MARK,
    Ears,
    all_ended,
    codex_home,
    kill_codex,
    need_sandbox,
    real_codex,
    settings_for,
)
from tests.scripted_model import Json, ScriptedModel, Step, fail, say, shell, silence

ESCAPING = "sh -c 'sleep 300 & setsid sleep 300 & nohup setsid sh -c \"sleep 300; true\" & wait'; true"
# Of a command that ends at once Codex at times tells nothing.
SPOKEN = "echo made; sleep 0.5; exit 3"
Make = Callable[..., ExecAgent]


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
def make(ears: Ears, repo: Path) -> Iterator[Make]:
    """Make an agent of a program and start it; it is closed with the test."""
    made = []

    def one(program: list[str], environment: dict[str, str], **chosen: object) -> ExecAgent:
        made.append(ExecAgent(replace(settings_for(ears, program, repo, environment), **chosen), ears.events))
        made[-1].start()
        return made[-1]

    yield one
    for agent in made:
        agent.close()


class Real:
    def __init__(self, agent: ExecAgent, model: ScriptedModel, mark: str) -> None:
        self.agent, self.model, self.mark = agent, model, mark

    def asked(self, nth: int = -1) -> str:
        """All that the model was told in a request."""
        return str(self.model.requests[nth]["input"])


@pytest.fixture
def real(make: Make, sealed: Path) -> Iterator[Callable[..., Real]]:
    """The real Codex with a script."""
    models: list[ScriptedModel] = []

    def one(*steps: Step, silent_ms: int = 20000, **chosen: object) -> Real:
        codex = real_codex()
        chosen = {"sandbox": "danger-full-access"} | chosen
        if chosen["sandbox"] != "danger-full-access":
            need_sandbox(codex)
        models.append(ScriptedModel(steps).__enter__())
        environment = codex_home(sealed, models[-1].url, silent_ms)
        return Real(make([codex], environment, **chosen), models[-1], environment[MARK])

    yield one
    for model in models:
        model.__exit__(None, None, None)


def program(script: str) -> list[str]:
    """A false Codex: a shell script that gets Codex's words."""
    return ["sh", "-c", script, "codex"]


@pytest.mark.codex
def test_a_turn_says_what_happens_and_ends_with_the_last_words(real: Callable[..., Real], ears: Ears) -> None:
    codex = real(shell(SPOKEN), say("all done"), instructions="You are the worker of this case.")
    codex.agent.begin("do it")
    assert ears.until(TurnEnded) == TurnEnded("completed", "all done")
    assert next(one for one in ears.heard if isinstance(one, TurnStarted)).turn_id
    assert f"$ {SPOKEN}" in ears.said and "| made" in ears.said and "exit 3" in ears.said
    assert [one for one in ears.heard if isinstance(one, Tokens)] == [Tokens(36)]
    assert "You are the worker of this case.\\n\\ndo it" in codex.asked(0)


@pytest.mark.codex
def test_turns_share_one_conversation_and_hear_the_instructions_once(real: Callable[..., Real], ears: Ears) -> None:
    codex = real(say("first answer"), say("second answer"), instructions="You are the worker.")
    for prompt in ("first question", "second question"):
        codex.agent.begin(prompt)
        ears.until(TurnEnded)
    for words in ("You are the worker.", "first question", "first answer", "second question"):
        assert codex.asked().count(words) == 1


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
    assert ears.until(TurnEnded) == TurnEnded("interrupted")
    assert time.monotonic() - start < 10
    assert all_ended(codex.mark)
    codex.agent.begin("do it the other way")
    assert ears.until(TurnEnded) == TurnEnded("completed", "patched")
    assert "turn_aborted" in codex.asked() and "do it the other way" in codex.asked()


@pytest.mark.codex
@pytest.mark.parametrize(
    ("trouble", "lasting"), [(fail(500), False), (fail(401), True), (fail(400), True), (silence(), False)]
)
def test_a_model_in_trouble_fails_the_turn_and_not_the_agent(
    trouble: Step, lasting: bool, real: Callable[..., Real], ears: Ears
) -> None:
    troubled = True

    def first(sent: Json) -> Json:
        return (trouble if troubled else say("recovered"))(sent)

    codex = real(*[first] * 9, silent_ms=500)
    codex.agent.begin("go")
    end = ears.until(TurnEnded)
    assert (end.outcome, end.lasting) == ("failed", lasting) and end.error
    troubled = False
    codex.agent.begin("carry on")
    assert ears.until(TurnEnded) == TurnEnded("completed", "recovered")


@pytest.mark.codex
def test_a_silent_model_is_given_up_when_the_idle_time_is_over(real: Callable[..., Real], ears: Ears) -> None:
    codex = real(silence(), idle_seconds=1.5)
    codex.agent.begin("go")
    assert ears.until(TurnEnded, 20) == TurnEnded("failed", error="silent for 1.5 s")
    assert all_ended(codex.mark)


@pytest.mark.codex
def test_a_killed_process_is_told_and_the_conversation_goes_on(real: Callable[..., Real], ears: Ears) -> None:
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


@pytest.mark.codex
def test_a_conversation_that_codex_lost_begins_anew_with_all_that_was_asked(
    real: Callable[..., Real], ears: Ears, sealed: Path
) -> None:
    codex = real(say("one"), say("two"), instructions="You are the worker.")
    codex.agent.begin("the assignment")
    ears.until(TurnEnded)
    shutil.rmtree(sealed / "codex" / "sessions")
    codex.agent.begin("carry on")
    assert ears.until(TurnEnded).outcome == "failed"
    codex.agent.begin("carry on")
    assert ears.until(TurnEnded) == TurnEnded("completed", "two")
    assert "You are the worker.\\n\\nthe assignment\\n\\ncarry on" in codex.asked()


@pytest.mark.codex
def test_closing_ends_all_that_runs(real: Callable[..., Real], ears: Ears) -> None:
    codex = real(shell(ESCAPING))
    codex.agent.begin("go")
    ears.until_said("$ ")
    start = time.monotonic()
    codex.agent.close()
    assert time.monotonic() - start < 5
    assert all_ended(codex.mark)
    assert ears.ends() == []


def test_a_program_that_fails_ends_the_turn_with_its_words(make: Make, ears: Ears) -> None:
    make(program("cat >/dev/null; echo 'unexpected status 401 Unauthorized' >&2; exit 1"), {}).begin("go")
    end = TurnEnded("failed", error="unexpected status 401 Unauthorized", lasting=True)
    assert ears.until(TurnEnded) == end


def test_a_program_that_reads_nothing_and_ends_is_told_by_its_words(make: Make, ears: Ears) -> None:
    make(program("exec <&-; echo 'bad configuration' >&2; exit 1"), {}).begin("x" * 1_000_000)
    assert ears.until(TurnEnded) == TurnEnded("failed", error="bad configuration")


def test_a_program_without_a_word_is_told_by_its_status(make: Make, ears: Ears) -> None:
    make(program("exit 7"), {}).begin("go")
    assert ears.until(TurnEnded).error == "codex exec ended with status 7 and without a word"


def test_lines_that_are_no_events_are_logged_and_passed_over(make: Make, ears: Ears) -> None:
    lines = [
        "no json",
        "[1]",
        '{"type": "turn.completed"}',
        '{"type": "item.completed", "item": 5}',
        '{"type": "item.completed", "item": {"type": "agent_message", "text": "\\u001b[31mred"}}',
        '{"type": "turn.completed", "usage": {"input_tokens": 3, "output_tokens": 4}}',
    ]
    script = "cat >/dev/null; cat <<'X'\n" + "\n".join(lines) + "\nX\n"
    make(program(script), {}).begin("go")
    assert ears.until(TurnEnded).outcome == "completed"
    assert ears.said == "red"
    assert len([line for line in ears.wire if line.startswith("? the line before is no event")]) == 3


def test_a_program_that_is_deaf_to_an_interrupt_is_ended(make: Make, ears: Ears) -> None:
    mark = os.urandom(6).hex()
    script = "trap '' INT TERM; echo '{\"type\": \"turn.started\"}'; while :; do sleep 300; done"
    agent = make(program(script), {MARK: mark})
    agent.begin("go")
    ears.until(TurnStarted)
    start = time.monotonic()
    agent.interrupt()
    assert time.monotonic() - start < 0.1
    assert ears.until(TurnEnded, 10) == TurnEnded("interrupted")
    assert all_ended(mark)


def test_a_program_that_is_not_there_is_a_bad_start(make: Make) -> None:
    with pytest.raises(External, match="'nothing-of-that-name' is not to be found") as refused:
        make(["nothing-of-that-name"], {})
    assert refused.value.hint


def test_the_prompt_is_on_no_command_line(make: Make, ears: Ears, repo: Path) -> None:
    place = repo / "seen"
    script = (
        'printf "%s\\n" "$@" > "$OUT"; cat >> "$OUT.prompt"; echo \'{"type": "thread.started", "thread_id": "t-7"}\'; '
    )
    script += 'echo \'{"type": "turn.started"}\'; echo \'{"type": "turn.failed"}\''
    agent = make(program(script), {"OUT": str(place)}, model="m", mcp_command=[sys.executable, "-m", "codestrator"])
    for prompt in ("secret one. ", "secret two"):
        agent.begin(prompt)
        assert ears.until(TurnEnded) == TurnEnded("failed", error="the turn failed")
    assert (repo / "seen.prompt").read_text(encoding="utf-8") == "secret one. secret two"
    words = place.read_text(encoding="utf-8").splitlines()
    assert "secret" not in "".join(words)
    assert words[:2] == ["exec", "--json"] and words[-3:] == ["resume", "t-7", "-"]
    assert 'approval_policy="never"' in words and 'model="m"' in words
