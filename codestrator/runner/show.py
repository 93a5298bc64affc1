"""What a person reads in a child's pane."""

import contextlib
import sys
from collections.abc import Callable
from datetime import datetime

from codestrator import text


class Screen:
    """Readable lines with the time; in a pane also kept in the child's log."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self.last = ""

    def line(self, mark: str, words: str) -> None:
        for one in text.clean(words).splitlines() or [""]:
            shown = f"{datetime.now().strftime('%H:%M:%S')} {mark} {one}"  # a person's own clock
            with contextlib.suppress(OSError):
                print(shown, flush=True)
            with contextlib.suppress(OSError):  # a full disk is no reason to stop
                self._log(shown)
        if words.strip():
            self.last = text.shorten(text.one_line(words), 400)

    def head(self, **facts: str | None) -> None:
        for name, value in facts.items():
            if value:
                self.line("┃", f"{name.replace('_', ' '):<10} {text.one_line(value)}")

    def trouble(self, words: str) -> None:
        with contextlib.suppress(OSError):
            print(f"codestrator runner: {text.one_line(words)}", file=sys.stderr, flush=True)
        self.line("✗", words)
