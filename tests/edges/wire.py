"""A server process spoken to in hand-written JSON-RPC lines, so that a test sees exactly what is on the wire."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

Json = dict[str, Any]
COMMAND = [sys.executable, "-m", "codestrator", "mcp"]
ANSWER_SECONDS = 120  # a shared disk can stall for half a minute
CLIENT = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}}


class Wire:
    """One server on its pipes; `lines` are all lines that it wrote to standard output."""

    def __init__(self, folder: Path, command: Sequence[str] = COMMAND, **env: str) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._number = 0
        self._answers: queue.Queue[Json | None] = queue.Queue()
        self._kept: dict[int, Json] = {}
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self._answer)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors.append)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: IO[str], keep: Callable[[str], None]) -> None:
        for line in pipe:
            keep(line)
        if pipe is self.process.stdout:
            self._answers.put(None)

    def _answer(self, line: str) -> None:
        self.lines.append(line)
        self._answers.put(json.loads(line) if line.startswith("{") else {})

    def raw(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def note(self, method: str, **params: Any) -> None:
        self.raw(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}))

    def send(self, method: str, **params: Any) -> int:
        """Ask without waiting; the request's number."""
        self._number += 1
        self.raw(json.dumps({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}))
        return self._number

    def wait(self, number: int) -> Json:
        """The answer to that request, whatever else is answered before it."""
        while number not in self._kept:
            found = self._answers.get(timeout=ANSWER_SECONDS)
            assert found is not None, f"the server ended with {self.process.wait()}: {''.join(self.errors)[-4000:]}"
            self._kept[found.get("id", 0)] = found
        return self._kept[number]

    def ask(self, method: str, **params: Any) -> Json:
        return self.wait(self.send(method, **params))

    def start(self) -> Json:
        """Shake hands in the older protocol; what the server says of itself."""
        found: Json = self.ask("initialize", **CLIENT)["result"]
        self.note("notifications/initialized")
        return found

    def begin(self, method: str, **params: Any) -> int:
        """Begin a call through the tool for every method; the request's number."""
        return self.send("tools/call", name="orchestrator.call", arguments={"method": method, "params": params})

    def result(self, method: str, **params: Any) -> Json:
        found: Json = self.wait(self.begin(method, **params))["result"]
        return found

    def call(self, method: str, **params: Any) -> Json:
        """The structured content of a call that is not refused."""
        result = self.result(method, **params)
        assert not result.get("isError"), result
        found: Json = result["structuredContent"]
        return found

    def close(self) -> int:
        """Close the server's input, wait until it has ended; its exit status."""
        assert self.process.stdin
        self.process.stdin.close()
        status = self.process.wait(ANSWER_SECONDS)
        self.finish()
        return status

    def finish(self) -> None:
        """End the process if it runs, and read its output to the end."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(ANSWER_SECONDS)
        for reader in self._readers:
            reader.join(ANSWER_SECONDS)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()
