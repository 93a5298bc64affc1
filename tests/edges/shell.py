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

import codestrator
from codestrator.errors import EXIT_STATUS

PACKAGE_ROOT = Path(codestrator.__file__).parents[1]
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


class Program:
    """`git-codestrator` in a folder of its own, which notes how it is called before it begins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "calls"
        folder.mkdir()
        self.log.touch()
        start = f"PYTHONPATH='{PACKAGE_ROOT}' exec '{sys.executable}' -P -m codestrator \"$@\""
        self.becomes(f"echo \"$*\" >>'{self.log}'\n{start}")

    def becomes(self, script: str) -> None:
        place = self.folder / "git-codestrator"
        place.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        place.chmod(0o755)

    def hooks(self) -> list[str]:
        """The hooks that it was started for, in order."""
        calls = (line.split(" -- ") for line in self.log.read_text(encoding="utf-8").splitlines())
        return [call[1].split()[0] for call in calls if call[0].startswith("hook") and len(call) > 1]


def typed(*words: str, at: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """What a person types; its status is for the test to judge."""
    return subprocess.run(
        words, cwd=at, capture_output=True, text=True, timeout=60, check=False, env=os.environ | env
    )  # fmt: skip


def script(place: Path, text: str, mode: int = 0o755) -> Path:
    """A hook of the user's."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    place.chmod(mode)
    return place
