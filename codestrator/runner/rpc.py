"""Requests, answers and notifications as JSON lines between us and a program."""

import itertools
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from codestrator.runner.program import Over, Program

Json = dict[str, Any]
NO_SUCH_METHOD = -32601  # JSON-RPC 2.0, section 5.1


class Refusal(Exception):
    """The program answered a request with an error."""

    def __init__(self, error: Any) -> None:
        found = error if isinstance(error, dict) else {"message": str(error)}
        super().__init__(str(found.get("message") or found))
        self.code = found.get("code")


class Silence(Exception):
    """The program did not answer a request in time."""


class Ears(NamedTuple):
    """Who hears what the program says of its own accord; called from its thread."""

    notified: Callable[[str, Json], None]
    asked: Callable[[str, Json], Json | None]  # None: not supported
    ended: Callable[[int, bool], None]
    wire: Callable[[str], None]


class Rpc:
    """A program that is asked; lines that are no messages are logged and passed over."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str], ears: Ears) -> None:
        self._ears = ears
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[Json]] = {}
        self._lock = threading.Lock()
        self._over = False
        self.program = Program(command, folder, environment, on_line=self._line, on_end=self._ended, wire=self._wire)
        self.program.listen()

    def call(self, method: str, params: Json, seconds: float) -> Json:
        """The result; `Refusal` for an error, `Silence` where none comes in time, `Over` where the program is gone."""
        number, answer = next(self._numbers), Future[Json]()
        with self._lock:
            if self._over:
                raise Over
            self._waiting[number] = answer
        try:
            self._send({"id": number, "method": method, "params": params})
            return answer.result(seconds)
        except NoAnswer:
            raise Silence(f"no answer to {method} within {seconds:g} s") from None
        finally:
            with self._lock:
                self._waiting.pop(number, None)

    def notify(self, method: str) -> None:
        self._send({"method": method})

    def _send(self, message: Json) -> None:
        self.program.write(json.dumps(message, separators=(",", ":")))

    def _wire(self, line: str) -> None:
        """All but the pieces of what comes whole later."""
        if 'elta"' not in line[:80]:
            self._ears.wire(line)

    def _line(self, line: str) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            self.program.note("? the line before is no message")
            return
        method, params = message.get("method"), message.get("params")
        params = params if isinstance(params, dict) else {}
        try:
            if method is None:
                self._answered(message)
            elif "id" in message:
                self._asked(message["id"], str(method), params)
            else:
                self._ears.notified(str(method), params)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            self.program.note(f"? the line before has another shape than expected: {error!r}")

    def _answered(self, message: Json) -> None:
        number = message.get("id")
        with self._lock:
            answer = self._waiting.pop(number, None) if isinstance(number, int) else None
        if answer is None:
            return
        if "error" in message:
            answer.set_exception(Refusal(message["error"]))
        else:
            found = message.get("result")
            answer.set_result(found if isinstance(found, dict) else {})

    def _asked(self, number: Any, method: str, params: Json) -> None:
        answer = self._ears.asked(method, params)
        error = {"code": NO_SUCH_METHOD, "message": f"this client does not answer {method}"}
        with suppress(Over):  # its end is told apart
            self._send({"id": number, "error": error} if answer is None else {"id": number, "result": answer})

    def _ended(self, status: int, news: bool) -> None:
        with self._lock:
            self._over = True
            waiting = list(self._waiting.values())
            self._waiting.clear()
        for answer in waiting:
            answer.set_exception(Over())
        self._ears.ended(status, news)
