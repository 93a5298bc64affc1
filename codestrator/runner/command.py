"""An agent that is any program: the launch line that the root gave, in the pane itself, which it may draw on.

It reads its first prompt from the private file that `CODESTRATOR_PROMPT_FILE` names, and may report by itself with
`git codestrator thread child report`. Its one turn lasts as long as it runs.
"""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from codestrator.errors import External
from codestrator.runner.agent import AgentSettings, Events, TurnEnded, TurnStarted
from codestrator.runner.leftovers import end_marked
from codestrator.runner.program import KEEPER, MARK, surroundings

PROMPT = "CODESTRATOR_PROMPT_FILE"
LEAVE_SECONDS = 4.0


class CommandAgent:
    """The launch line, run by a shell below a keeper that lets nothing outlive the runner."""

    def __init__(self, settings: AgentSettings, events: Events) -> None:
        self._settings = settings
        self._events = events
        self._process: subprocess.Popen[bytes] | None = None
        self._control: int | None = None
        self._cut_off = False

    def start(self) -> None:
        if not self._settings.folder.is_dir():
            raise External(
                f"the folder '{self._settings.folder}' is not there, expected the child's worktree",
                hint="Look at worktree.list.",
                program=self._settings.program[0],
            )

    def begin(self, prompt: str) -> None:
        """Hand over the prompt and run it; what is sent later is read by the program itself."""
        place = Path(self._settings.environment["CODESTRATOR_THREAD_FILE"]).with_suffix(".prompt")
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(prompt)
        orders, control = os.pipe()
        line = ["/bin/sh", "-c", self._settings.program[0]]
        marks = {PROMPT: str(place), MARK: os.urandom(8).hex()}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", KEEPER, str(orders), *line],
                cwd=self._settings.folder,
                env=surroundings(self._settings.environment | marks),
                pass_fds=(orders,),
            )
        except OSError as error:
            os.close(control)
            self._events.put(TurnEnded("failed", error=str(error), lasting=True))
            return
        finally:
            os.close(orders)
        self._control, self._cut_off = control, False
        self._events.put(TurnStarted(str(self._process.pid)))
        mark = f"{MARK}={marks[MARK]}"
        threading.Thread(target=self._wait, args=(self._process, mark), name="command", daemon=True).start()

    def _wait(self, process: "subprocess.Popen[bytes]", mark: str) -> None:
        status = process.wait()
        end_marked(mark)  # whatever ended the keeper, it may not have come to its duty
        if self._cut_off:
            self._events.put(TurnEnded("interrupted"))
        elif status == 0:
            self._events.put(TurnEnded("completed", "the command ended with status 0"))
        else:
            self._events.put(TurnEnded("failed", error=f"the command ended with status {status}", lasting=True))

    def interrupt(self) -> None:
        self._cut_off = True
        self._order(b"k")

    def resume(self) -> None:
        return

    def close(self) -> int | None:
        """End it within 5 s with all that it started."""
        if self._process is None:
            return None
        self._cut_off = True
        if self._control is not None:
            os.close(self._control)
            self._control = None
        try:
            return self._process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(1)

    def _order(self, letter: bytes) -> None:
        with contextlib.suppress(OSError):
            if self._control is not None:
                os.write(self._control, letter)
