"""What tests do with the command line: read its answers, and sit at a terminal before it."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from codestrator.errors import EXIT_STATUS

Run = Callable[..., subprocess.CompletedProcess[str]]


def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["ok"] is True and found["schema_version"] == 1
    answer: dict[str, Any] = found["result"]
    return answer


def refused(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found = json.loads(done.stdout)
    assert found["ok"] is False
    error: dict[str, Any] = found["error"]
    assert done.returncode == EXIT_STATUS[error["code"]]
    return error


def on_a_terminal(words: list[str], at: Path, typed: bytes = b"", **env: str) -> tuple[int, str]:
    """Run on a pseudo-terminal: the status and what a person saw."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-m", "codestrator", *words],
        cwd=at,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "140"} | env,
    )
    os.close(theirs)
    os.write(ours, typed)
    seen = b""
    with suppress(OSError):  # Linux ends a terminal whose other side is closed with an error
        while more := os.read(ours, 4096):
            seen += more
    os.close(ours)
    return running.wait(60), seen.decode()
