"""The Agents SDK kind: the real SDK leads the real Codex, one scripted model stands behind both."""

import json
import os
import queue
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from codestrator.errors import External, InvalidParams
from codestrator.guides import role_file
from codestrator.runner.agent import Agent, Event, Gone, Said, Tokens, TurnEnded, TurnStarted
from tests.conftest import ended
from tests.runner.codexes import MARK, Ears, all_ended, codex_home, marked, real_codex, settings_for
from tests.scripted_model import Json, ScriptedModel, Step, fail, outputs, say, shell, silence

pytest.importorskip("agents.mcp", reason="needs the Agents SDK: pip install 'codestrator[agents]'")
sdk = pytest.importorskip("codestrator.runner.sdk")
pytestmark = pytest.mark.codex

LEAD = "lead"  # the model of the SDK's agent
THREADS = ("agents sdk", "codex", "turns", "_read", "_listen", "_wait")  # how the threads of an agent are named


class TwoModels(ScriptedModel):
    """The lead's model and Codex's, told apart by name; each has its script."""

    def __init__(self, lead: Sequence[Step], codex: Sequence[Step]) -> None:
        scripts = {True: iter(lead), False: iter(codex)}
        over = say("the script is at its end")
        super().__init__([lambda sent: next(scripts[sent["model"] == LEAD], over)(sent)] * 100)

    @property
    def by_lead(self) -> list[Json]:
        """What the SDK's agent sent."""
        return [one for one in self.requests if one["model"] == LEAD]

    @property
    def by_codex(self) -> list[Json]:
        return [one for one in self.requests if one["model"] != LEAD]


def use(tool: str, **arguments: Any) -> Step:
    """The lead calls a tool; an argument that is a function gets what earlier calls returned."""

    def step(sent: Json) -> Json:
        filled = {name: value(outputs(sent)) if callable(value) else value for name, value in arguments.items()}
        return {"type": "function_call", "name": tool, "arguments": json.dumps(filled), "status": "completed"}

    return step


def nth_thread(nth: int) -> Callable[[list[str]], str]:
    """The threadId in what the nth call returned."""

    def found(returned: list[str]) -> str:
        told = re.search(r"threadId: (\S+)", returned[nth])
        assert told, returned[nth]
        return told[1]

    return found


class Led:
    """A started agent, its two models, and what it says."""

    def __init__(self, agent: Agent, model: TwoModels, ears: Ears, environment: dict[str, str]) -> None:
        self.agent, self.model, self.ears = agent, model, ears
        self.mark = environment[MARK]
        self.home = Path(environment["CODEX_HOME"])

    def turn(self, prompt: str, seconds: float = 60) -> TurnEnded:
        self.agent.begin(prompt)
        return self.ears.until(TurnEnded, seconds)


Lead = Callable[..., Led]


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
def led(ears: Ears, repo: Path, sealed: Path) -> Iterator[Lead]:
    """Start an agent with a script for its model and one for Codex's; it is closed with the test."""
    made: list[Led] = []

    def one(lead: Sequence[Step], codex: Sequence[Step] = (), kind: type[TwoModels] = TwoModels, **chosen: Any) -> Led:
        program = real_codex()
        model = kind(lead, codex)
        environment = codex_home(sealed, model.url) | {"OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "none"}
        environment |= chosen.pop("environment_too", {})
        settings = settings_for(ears, [program], repo, environment)
        chosen = {"sandbox": "danger-full-access", "model": LEAD} | chosen
        agent = sdk.SdkAgent(replace(settings, **chosen), ears.events)
        made.append(Led(agent, model.__enter__(), ears, environment))
        agent.start()
        return made[-1]

    yield one
    for each in made:
        each.agent.close()
        each.model.__exit__(None, None, None)


def ours() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith(THREADS)]


def test_codex_edits_a_file_and_the_next_turn_goes_on_in_its_conversation(led: Lead, ears: Ears, repo: Path) -> None:
    one = led(
        [
            use("codex", prompt="write hello"),
            say("it is written"),
            use("codex-reply", prompt="what did you write?", threadId=nth_thread(0)),
            say("hello, it says"),
        ],
        [shell("echo hello > hello.txt"), say("wrote hello.txt"), say("I wrote hello")],
        instructions="You are the worker.",
    )
    assert one.turn("have hello written") == TurnEnded("completed", "it is written")
    assert (repo / "hello.txt").read_text(encoding="utf-8") == "hello\n"
    assert one.turn("and what is in it?") == TurnEnded("completed", "hello, it says")

    first, *_, last = one.model.by_lead
    assert first["instructions"] == role_file("worker").instructions
    assert {tool["name"] for tool in first["tools"]} == {"codex", "codex-reply"}
    assert "have hello written" in str(last["input"]) and "it is written" in str(last["input"])
    assert [told.partition("\n")[0] for told in outputs(last)] == ["wrote hello.txt", "I wrote hello"]
    asked = str(one.model.by_codex[-1]["input"])
    assert "write hello" in asked and "wrote hello.txt" in asked and "what did you write?" in asked
    assert "You are the worker." in asked

    assert [event.turn_id for event in ears.rest() if isinstance(event, TurnStarted)] == ["turn-1", "turn-2"]
    for words in ("> codex: write hello", "$ echo hello > hello.txt", "wrote hello.txt", "it is written"):
        assert words in ears.said.split("\n") or words in ears.said
    assert [event.used for event in ears.heard if isinstance(event, Tokens)][-1] == 7 * 18


def test_an_interrupt_ends_what_codex_runs_and_its_conversation_goes_on(led: Lead, ears: Ears) -> None:
    one = led(
        [
            use("codex", prompt="wait long"),
            use("codex-reply", prompt="do less", threadId=nth_thread(0)),
            say("did less"),
        ],
        [shell("sleep 300"), say("less is done")],
    )
    one.agent.begin("have it wait")
    ears.until_said("$ sleep 300")
    asked = time.monotonic()
    one.agent.interrupt()
    assert ears.until(TurnEnded, 10) == TurnEnded("interrupted")
    assert time.monotonic() - asked < 10
    assert all(ended(pid, 2) for pid in marked(one.mark, named="sleep"))
    assert one.turn("do less") == TurnEnded("completed", "did less")
    broken_off = outputs(one.model.by_lead[1])[0]
    assert broken_off.startswith("This call was broken off. Codex keeps what it did")
    assert "wait long" in str(one.model.by_codex[-1]["input"])


def test_an_interrupt_while_the_model_thinks_leaves_the_conversation_usable(led: Lead, ears: Ears) -> None:
    thinks = threading.Event()

    def think(sent: Json) -> Json:
        thinks.set()
        return silence()(sent)

    one = led([think, say("now it is another")])
    one.agent.begin("think about it")
    assert thinks.wait(30)
    one.agent.interrupt()
    assert ears.until(TurnEnded, 10) == TurnEnded("interrupted")
    one.agent.interrupt()  # nothing runs: nothing happens
    assert one.turn("something else") == TurnEnded("completed", "now it is another")
    assert "think about it" in str(one.model.by_lead[-1]["input"])


def test_an_interrupt_right_after_the_beginning_counts(led: Lead, ears: Ears) -> None:
    one = led([silence()] * 2)
    for _ in range(2):
        one.agent.begin("think about it")
        one.agent.interrupt()
        assert ears.until(TurnEnded, 10) == TurnEnded("interrupted")


@pytest.mark.parametrize(("status", "lasting"), [(401, True), (404, True), (500, False)])
def test_what_the_model_server_refuses_fails_the_turn_and_no_more(status: int, lasting: bool, led: Lead) -> None:
    tries = 1 if lasting else 3
    one = led([*[fail(status)] * tries, say("here again")])
    end = one.turn("try")
    assert (end.outcome, end.lasting) == ("failed", lasting)
    assert str(status) in end.error
    assert len(one.model.requests) == tries
    assert one.turn("try again") == TurnEnded("completed", "here again")


def test_a_model_that_falls_silent_fails_the_turn(led: Lead) -> None:
    one = led([silence()] * 3, idle_seconds=0.5)
    end = one.turn("speak", 20)
    assert (end.outcome, end.lasting) == ("failed", False)
    assert "timed out" in end.error.lower()


def test_a_model_server_that_is_not_there_is_named(led: Lead, ears: Ears) -> None:
    one = led([])
    one.model.__exit__(None, None, None)
    end = one.turn("speak", 40)
    assert (end.outcome, end.lasting) == ("failed", False)
    assert one.model.url in end.error


def test_more_calls_of_the_model_than_allowed_fail_the_turn_for_good(led: Lead) -> None:
    one = led([use("codex", prompt="go")] * 3, [say("gone")] * 3, override={"max_turns": 2})
    end = one.turn("go")
    assert (end.outcome, end.lasting) == ("failed", True)
    assert "2 times" in end.error


@pytest.mark.parametrize("most", [0, True, "many"])
def test_a_limit_that_is_none_is_refused_before_anything_starts(most: object, ears: Ears, repo: Path) -> None:
    settings = replace(settings_for(ears, ["codex"], repo, {}), override={"max_turns": most})
    with pytest.raises(InvalidParams, match="expected a whole number from 1"):
        sdk.SdkAgent(settings, ears.events)


def test_close_in_the_middle_of_a_turn_leaves_no_process_and_no_thread(led: Lead, ears: Ears) -> None:
    before = set(ours())
    one = led([use("codex", prompt="wait")], [shell("sleep 300")])
    one.agent.begin("have it wait")
    ears.until_said("$ sleep 300")
    asked = time.monotonic()
    one.agent.close()
    assert time.monotonic() - asked < 5
    assert all_ended(one.mark)
    for thread in set(ours()) - before:
        thread.join(2)
    assert set(ours()) <= before


def test_several_conversations_are_kept_apart(led: Lead) -> None:
    one = led(
        [
            use("codex", prompt="count apples"),
            use("codex", prompt="count pears", **{"developer-instructions": "Count twice."}),
            use("codex-reply", prompt="how many apples?", threadId=nth_thread(0)),
            say("three apples"),
        ],
        [say("three"), say("five"), say("three, as I said")],
        instructions="You count.",
    )
    assert one.turn("count").outcome == "completed"
    apples, pears, again = (str(sent["input"]) for sent in one.model.by_codex)
    assert all("You count." in asked for asked in (apples, pears, again))
    assert "Count twice." in pears and "apples" not in pears
    assert "count apples" in again and "pears" not in again and "Count twice." not in again
    assert "Count twice." not in apples


# What a lead may not ask for, and the words in which it is told.
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("codex", {}, "missing required field `prompt`"),
    ("codex", {"prompt": "go", "sandbox": "danger-full-access"}, "expected at most 'read-only'"),
    ("codex", {"prompt": "go", "cwd": ".."}, "is no folder inside"),
    ("codex", {"prompt": "go", "cwd": "/"}, "is no folder inside"),
    ("codex", {"prompt": "go", "approval-policy": "on-request"}, "approval-policy"),
    ("codex", {"prompt": "go", "config": {"sandbox_mode": "danger-full-access"}}, "unknown field `sandbox_mode`"),
    ("codex", {"prompt": "go", "profile": "mine"}, "unknown field `profile`"),
    ("codex-reply", {"prompt": "go", "threadId": "not-one"}, "no conversation 'not-one'"),
]


def test_a_call_may_not_widen_what_the_agent_was_given(led: Lead) -> None:
    one = led([*(use(tool, **given) for tool, given, _ in REFUSED), say("none of it")], sandbox="read-only")
    assert one.turn("try all") == TurnEnded("completed", "none of it")
    told = outputs(one.model.by_lead[-1])
    assert len(told) == len(REFUSED)
    for answer, (_, _, expected) in zip(told, REFUSED, strict=True):
        assert expected in answer
    assert one.model.by_codex == []


def test_a_call_says_where_and_how_codex_works_and_no_folder_becomes_trusted(led: Lead, repo: Path) -> None:
    (repo / "src").mkdir()
    chosen = {"base-instructions": "You are terse.", "config": {"model_reasoning_effort": "low"}}
    one = led(
        [
            use("codex", prompt="look", cwd="src", model="another", **chosen),
            use("codex", prompt="look here", cwd=str(repo)),
            say("seen"),
        ],
        [say("looked")] * 2,
        override={"codex_model": "mine"},
    )
    assert one.turn("look").outcome == "completed"
    there, here = one.model.by_codex
    assert there["model"] == "another"
    assert "You are terse." in str(there["input"]) and "You are terse." not in str(here["input"])
    assert "Work in the folder `src`." in str(there["input"])
    assert here["model"] == "mine"
    assert "Work in the folder" not in str(here["input"])
    assert "trust_level" not in (one.home / "config.toml").read_text(encoding="utf-8")


def test_codex_that_dies_is_told_to_the_lead_and_is_there_for_the_next_call(led: Lead, ears: Ears) -> None:
    one = led(
        [use("codex", prompt="wait"), use("codex-reply", prompt="go on", threadId=nth_thread(0)), say("went on")],
        [shell("sleep 300"), say("on it went")],
    )
    one.agent.begin("have it wait")
    ears.until_said("$ sleep 300")
    for pid in marked(one.mark, named="app-server"):
        os.kill(pid, signal.SIGKILL)
    assert ears.until(TurnEnded) == TurnEnded("completed", "went on")
    died, went_on = outputs(one.model.by_lead[-1])
    assert died.startswith("Codex ended with status ")
    assert went_on.startswith("on it went")
    assert "wait" in str(one.model.by_codex[-1]["input"])


@pytest.mark.slow
def test_an_interrupt_is_answered_in_time_though_codex_is_frozen(led: Lead, ears: Ears) -> None:
    one = led(
        [use("codex", prompt="wait"), use("codex-reply", prompt="go on", threadId=nth_thread(0)), say("went on")],
        [shell("sleep 300"), say("on it went")],
    )
    one.agent.begin("have it wait")
    ears.until_said("$ sleep 300")
    for pid in marked(one.mark, named="app-server"):
        os.kill(pid, signal.SIGSTOP)
    one.agent.interrupt()
    assert ears.until(TurnEnded, 10) == TurnEnded("interrupted")
    assert one.turn("go on") == TurnEnded("completed", "went on")


def test_what_codex_cannot_do_at_all_is_told_to_the_lead_as_such(led: Lead) -> None:
    one = led([use("codex", prompt="go"), say("it could not")], [fail(400)] * 10)
    assert one.turn("go").message == "it could not"
    told = outputs(one.model.by_lead[-1])[0]
    assert told.startswith("Codex's turn failed: ") and told.endswith("Trying again is of no use: say so and end.")


def test_the_lead_has_our_tools_too_again_after_their_server_died(led: Lead) -> None:
    server = [sys.executable, "-m", "codestrator", "mcp"]
    ready = use("orch_system", method="runtime.bundle.info")
    one = led([ready, say("one"), ready, say("two")], mcp_command=server)
    assert one.turn("look").message == "one"
    first = one.model.by_lead[0]
    names = {tool["name"] for tool in first["tools"]}
    assert {"codex", "codex-reply", "orch_task", "orch_system"} <= names
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in names)
    for pid in marked(one.mark, named="codestrator\0mcp"):
        os.kill(pid, signal.SIGKILL)
    assert one.turn("look again").message == "two"
    told = outputs(one.model.by_lead[-1])
    assert len(told) == 2 and told[0] == told[1]


class Streaming(TwoModels):
    """As models do it: the words come in pieces before the message is complete."""

    def answer(self, sent: Json) -> list[tuple[str, Json]]:
        events = super().answer(sent)
        pieces = [
            ("response.output_text.delta", {"delta": piece}) for piece in ("One", " line\nand ", "a\x1b[2Jnother")
        ]
        return [*events[:2], *pieces, ("response.output_text.done", {}), *events[2:]]


def test_words_that_stream_are_said_line_by_line_and_once(led: Lead, ears: Ears) -> None:
    one = led([say("One line\nand another")], kind=Streaming)
    assert one.turn("speak").message == "One line\nand another"
    assert [event.text for event in ears.rest() if isinstance(event, Said)] == ["One line", "and another"]


def test_the_role_decides_how_codex_is_led(led: Lead, ears: Ears) -> None:
    one = led([say("verdict")], environment_too={"CODESTRATOR_THREAD_ROLE": "merge-reviewer"})
    assert one.turn("review").outcome == "completed"
    assert one.model.by_lead[0]["instructions"] == role_file("merge-reviewer").instructions


def test_a_server_of_tools_that_does_not_come_up_is_a_bad_start_that_leaves_nothing(led: Lead, ears: Ears) -> None:
    with pytest.raises(External, match="the agent's tools did not come up: ") as bad:
        led([], mcp_command=[sys.executable, "-c", "raise SystemExit(3)"])
    assert "sub-exception" not in bad.value.message
    assert ears.ends() == []


def test_a_program_that_is_not_there_is_a_bad_start_that_leaves_nothing(ears: Ears, repo: Path) -> None:
    before = set(ours())
    agent = sdk.SdkAgent(settings_for(ears, ["no-such-codex"], repo, {"OPENAI_API_KEY": "none"}), ears.events)
    with pytest.raises(External, match="no-such-codex"):
        agent.start()
    for thread in set(ours()) - before:
        thread.join(2)
    assert set(ours()) <= before
    assert ears.rest() == []


class Failing(queue.SimpleQueue[Event]):
    """A queue that takes no event, once."""

    fails = False

    def put(self, item: Event, block: bool = True, timeout: float | None = None) -> None:
        if self.fails:
            self.fails = False
            raise MemoryError
        super().put(item, block, timeout)


def test_an_agent_whose_life_broke_off_says_so_and_resumes_its_conversation(led: Lead, ears: Ears) -> None:
    ears.events = events = Failing()
    one = led([say("first answer"), say("second answer")])
    assert one.turn("first question").message == "first answer"
    events.fails = True
    for prompt in ("lost", "heard by nobody"):
        one.agent.begin(prompt)
        ears.until(Gone)
    assert all_ended(one.mark)
    one.agent.resume()
    assert one.turn("second question").message == "second answer"
    assert "first answer" in str(one.model.by_lead[-1]["input"])
