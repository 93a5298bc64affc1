"""What is remembered of a turn that was cut off is a conversation that a model takes."""

from types import SimpleNamespace
from typing import Any

import pytest

from codestrator.runner.agent import Said
from codestrator.runner.heard import Heard, mended

ASKED = {"role": "user", "content": "go"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": []}
CALL = {"type": "function_call", "call_id": "call_1", "name": "codex", "arguments": "{}"}
OTHER = {"type": "function_call", "call_id": "call_2", "name": "codex", "arguments": "{}"}
ANSWER = {"type": "function_call_output", "call_id": "call_1", "output": "done"}
CUT = {"type": "function_call_output", "call_id": "call_1", "output": "cut"}
OTHER_CUT = {"type": "function_call_output", "call_id": "call_2", "output": "cut"}


@pytest.mark.parametrize(
    ("done", "heard", "remembered"),
    [
        ([ASKED, CALL, ANSWER], [CALL, ANSWER], [ASKED, CALL, ANSWER]),
        ([ASKED], [THOUGHT, CALL], [ASKED, THOUGHT, CALL, CUT]),
        ([ASKED, CALL, ANSWER], [CALL, ANSWER, OTHER], [ASKED, CALL, ANSWER, OTHER, OTHER_CUT]),
        ([ASKED], [CALL, OTHER, ANSWER], [ASKED, CALL, OTHER, ANSWER, OTHER_CUT]),
        ([ASKED], [THOUGHT], [ASKED]),
        ([ASKED], [], [ASKED]),
    ],
    ids=["whole", "call open", "second step", "one of two open", "only a thought", "nothing"],
)
def test_each_call_is_answered_and_no_thought_stands_alone(done: list[Any], heard: list[Any], remembered: Any) -> None:
    assert mended(done, heard, "cut") == remembered


def piece(kind: str, **fields: str) -> SimpleNamespace:
    return SimpleNamespace(type="raw_response_event", data=SimpleNamespace(type=kind, **fields))


def test_a_line_is_said_once_it_is_complete_and_the_last_at_the_end_of_the_text() -> None:
    said: list[Said] = []
    heard = Heard(said.append, lambda line: None)
    heard.event(piece("response.output_text.delta", delta="one\n  t"))
    assert said == [Said("one")]
    heard.event(piece("response.output_text.delta", delta="wo\x1b[2J"))
    assert len(said) == 1
    heard.event(piece("response.output_text.done"))
    heard.event(piece("response.completed"))
    assert said == [Said("one"), Said("  two")]
