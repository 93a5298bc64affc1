"""Snapshots of uncommitted work on other machines: made once and never moved, so sharing is adding what is missing."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from codestrator.calls import Flow
from codestrator.methods.fetching import bring
from codestrator.programs import Push

ALL = "refs/codestrator/rescue/*"
AT_ONCE = 200
_SNAPSHOT = re.compile(r"refs/codestrator/rescue/wt-[0-9a-z]{10}/snap-[0-9a-z]{10}")


class Shared(NamedTuple):
    """How many went which way, a server's words if it takes none, and git's of what is damaged there."""

    fetched: int
    pushed: int
    refused: str = ""
    damaged: str = ""


def _missing(flow: Flow, there: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Snapshots that are there and not here; and here and not there, with their commits."""
    here = flow.store.refs.under("refs/codestrator/rescue/", _SNAPSHOT)
    new = sorted(ref for ref in there if ref not in here and _SNAPSHOT.fullmatch(ref))
    return new, {ref: commit for ref, commit in here.items() if ref not in there}


def planned(flow: Flow, there: Mapping[str, str], fetches: bool, pushes: bool) -> Shared:
    new, own = _missing(flow, there)
    return Shared(len(new) if fetches else 0, len(own) if pushes else 0)


def share(
    flow: Flow, remote: str, there: Mapping[str, str], fetches: bool, pushes: bool, *, left: Callable[[], float]
) -> Shared:
    """Bring here what is only there, then there what is only here."""
    new, own = _missing(flow, there)
    new = new if fetches else []
    damaged: dict[str, str] = {}
    for at in range(0, len(new), AT_ONCE):
        damaged |= bring(flow, remote, [(ref, ref) for ref in new[at : at + AT_ONCE]], left=left)
    moves = [Push(ref, commit, None) for ref, commit in sorted(own.items())] if pushes else []
    pushed, refused = 0, ""
    for at in range(0, len(moves), AT_ONCE):
        found = flow.world.remotes.send(remote, moves[at : at + AT_ONCE], seconds=left())
        pushed += sum(one.verdict != "refused" for one in found.values())
        refused = next((one.words for one in found.values() if one.verdict == "refused"), refused)
    return Shared(len(new) - len(damaged), pushed, refused, next(iter(damaged.values()), ""))
