"""Names made from words: slugs, branches, viewers; and advice whether work wants a worktree of its own."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Annotated, Any

from msgspec import Meta

from codestrator.calls import Tx
from codestrator.params import Params

Count = Annotated[int, Meta(ge=0, le=100_000)]
THRESHOLD = 12
ATTEMPTS = 64
STOP_WORDS = frozenset(
    ["a", "an", "the", "to", "for", "of", "and", "or", "in", "on", "with", "by", "from", "at", "is", "are"]
)
TOKEN_LENGTH = 24
NAME_LENGTH = 80
_RUNS = re.compile(r"[a-z0-9]+")


class Decide(Params, frozen=True, kw_only=True):
    changed_files: Count = 0
    estimate_minutes: Count = 0
    risk: Count = 0
    parallel_workers: Count = 0
    conflicting_paths: Count = 0


def decide(tx: Tx, want: Decide) -> dict[str, Any]:
    """Advise whether work wants a worktree of its own."""
    points = {
        "changed_files": (want.changed_files, 1 * want.changed_files),
        "estimate_minutes": (want.estimate_minutes, -(-want.estimate_minutes // 15)),
        "risk": (want.risk, 3 * want.risk),
        "parallel_workers": (want.parallel_workers, 2 * want.parallel_workers),
        "conflicting_paths": (want.conflicting_paths, 2 * want.conflicting_paths),
    }
    score = sum(add for _, add in points.values())
    reasons = [
        f"{name}={value}" if name == "changed_files" else f"{name}={value}(+{add})"
        for name, (value, add) in points.items()
        if add
    ]
    mode = "worktree" if score >= THRESHOLD else "shared"
    return {"mode": mode, "score": score, "threshold": THRESHOLD, "reasons": reasons}


def _tokens(words: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", words.casefold()).encode("ascii", "ignore").decode()
    return [token[:TOKEN_LENGTH] for token in _RUNS.findall(plain)]


def slug(*sources: str | None) -> str:
    """One or two words of the first source that has any, `work` if none has.

    >>> slug(None, "Fix the login timeout"), slug("Über die Größe"), slug("the of"), slug("日本")
    ('fix-login', 'uber-die', 'the-of', 'work')
    >>> slug("Größe ändern")
    'grosse-andern'
    """
    for source in sources:
        tokens = _tokens(source or "")
        if tokens:
            return "-".join([token for token in tokens if token not in STOP_WORDS][:2] or tokens[:2])
    return "work"


def attempts(base: str) -> Iterator[str]:
    """The name itself, then with `-2` to `-64`."""
    yield base
    yield from (f"{base}-{number}" for number in range(2, ATTEMPTS + 1))


def viewer(folder: str, worktree: str) -> str:
    """The tmux session in which a session's children can be watched."""
    parts = ["-".join(_RUNS.findall(name.lower()))[:NAME_LENGTH] for name in (folder, worktree)]
    return f"{parts[0] or 'repo'}-{parts[1] or 'worktree'}"[:NAME_LENGTH]
