"""What is heard of an Agents SDK agent's turn: its words as they come, and what is to be remembered of it."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from codestrator import text
from codestrator.runner.agent import Said

LINE_CHARACTERS = 4000
ARGUMENTS_CHARACTERS = 200


class Heard:
    """Takes the SDK's events of one turn: `say` gets each line of the agent once it is complete, `log` each item."""

    def __init__(self, say: Callable[[Said], None], log: Callable[[str], None]) -> None:
        self._say = say
        self._log = log
        self._line = ""
        self._streamed = False
        self.items: list[Any] = []

    def event(self, event: Any) -> None:
        if event.type == "raw_response_event":
            self._piece(event.data)
        elif event.type == "run_item_stream_event":
            self.items.append(event.item.to_input_item())
            self._log(text.shorten(f"~ {json.dumps(self.items[-1], default=str)}", LINE_CHARACTERS))
            if event.name == "message_output_created":
                self._message(self.items[-1])
            elif event.name == "tool_called":
                self._called(self.items[-1])

    def _piece(self, data: Any) -> None:
        if data.type == "response.output_text.delta":
            self._streamed = True
            *lines, self._line = (self._line + data.delta).split("\n")
            self._told(lines)
        elif data.type in ("response.output_text.done", "response.completed"):
            self._told([self._line])
            self._line = ""

    def _message(self, item: Any) -> None:
        if not self._streamed:  # else its words are told already
            self._told("".join(part.get("text", "") for part in item["content"]).split("\n"))
        self._streamed = False

    def _called(self, item: Any) -> None:
        if item.get("name") not in ("codex", "codex-reply"):  # which tells by itself what it does
            arguments = text.shorten(text.one_line(str(item.get("arguments", ""))), ARGUMENTS_CHARACTERS)
            self._say(Said(f"> {text.one_line(str(item.get('name')))} {arguments}"))

    def _told(self, lines: Sequence[str]) -> None:
        for line in lines:
            if words := text.clean(line):
                indent = line[: len(line) - len(line.lstrip(" "))]
                self._say(Said(text.shorten(indent + words, LINE_CHARACTERS)))


def mended(done: Sequence[Any], heard: Sequence[Any], note: str) -> list[Any]:
    """A conversation that may have been cut off, as a model takes it: each call answered, no thought without its deed.

    `done` is what the SDK remembers, whole steps only; `heard` is what came before the cut as well.
    """
    items = [*done, *(item for item in heard if item not in done)]
    while items and items[-1].get("type") == "reasoning":
        items.pop()
    answered = {item["call_id"] for item in items if item.get("type") == "function_call_output"}
    calls = [item["call_id"] for item in items if item.get("type") == "function_call"]
    missing = [one for one in calls if one not in answered]
    return items + [{"type": "function_call_output", "call_id": one, "output": note} for one in missing]
