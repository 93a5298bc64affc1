"""Recent tips: where the two refs were lately, in a plain file, so that a ref that broke or vanished can be told."""

from pathlib import Path
from typing import NamedTuple

KEPT = 50
LINE_BYTES = 25 + 2 * 41


class Tip(NamedTuple):
    """One line: when (RFC 3339), and the commits of state and lock book from then on."""

    at: str
    state: str
    locks: str


class Tips:
    """`<common git dir>/codestrator/tips`, oldest first. A line that cannot be read is passed over."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, tip: Tip) -> None:
        """Append; never an error, because what it tells of has happened."""
        line = " ".join(tip).encode() + b"\n"
        try:
            with self._path.open("ab") as file:
                file.write(line)
                grown = file.tell() > 2 * KEPT * LINE_BYTES
            if grown:
                self._shorten()
        except FileNotFoundError:
            self._begin(line)
        except OSError:
            return

    def _begin(self, line: bytes) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(line)
        except OSError:
            return

    def _shorten(self) -> None:
        aside = self._path.with_name("tips.new")
        aside.write_text("".join(" ".join(tip) + "\n" for tip in reversed(self.recent())), encoding="ascii")
        aside.replace(self._path)

    def recent(self) -> list[Tip]:
        """At most fifty, newest first."""
        try:
            lines = self._path.read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            return []
        found = [Tip(*words) for words in (line.split(" ") for line in reversed(lines)) if _is_tip(words)]
        return found[:KEPT]


def _is_tip(words: list[str]) -> bool:
    return len(words) == 3 and all(len(one) == 40 and set(one) <= set("0123456789abcdef") for one in words[1:])
