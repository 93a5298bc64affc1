"""Snapshots of uncommitted work on other machines: made once and never moved, so sharing is adding what is missing.

And taking away what was released, here or there.
"""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from codestrator.calls import Flow
from codestrator.methods import releasing, rescue
from codestrator.methods.fetching import bring
from codestrator.programs import Push

ALL = "refs/codestrator/rescue/*"
AT_ONCE = 200


class Shared(NamedTuple):
    """How many went which way, also to be taken away; a server's words if it takes none, git's of what is damaged."""

    fetched: int
    pushed: int
    refused: str = ""
    damaged: str = ""


class Missing(NamedTuple):
    """Snapshots that are only there, those that are only here, and those of either that were released."""

    new: dict[str, str]
    own: dict[str, str]
    released: set[str]


def _missing(flow: Flow, there: Mapping[str, str]) -> Missing:
    here = rescue.refs(flow)
    new = {ref: there[ref] for ref in sorted(there) if ref not in here and rescue.REF.fullmatch(ref)}
    own = {ref: commit for ref, commit in here.items() if ref not in there}
    differ = new | own
    gone = releasing.released(flow.read(), differ) if differ and flow.store.initialised else set()
    return Missing(_without(new, gone), _without(own, gone), gone)


def _without(refs: Mapping[str, str], gone: Collection[str]) -> dict[str, str]:
    return {ref: commit for ref, commit in refs.items() if ref not in gone}


def planned(flow: Flow, there: Mapping[str, str], fetches: bool, pushes: bool) -> Shared:
    missing = _missing(flow, there)
    return Shared(len(missing.new) if fetches else 0, len(missing.own) if pushes else 0)


def share(
    flow: Flow, remote: str, there: Mapping[str, str], fetches: bool, pushes: bool, *, left: Callable[[], float]
) -> Shared:
    """Bring here what is only there, then there what is only here."""
    missing = _missing(flow, there)
    new = list(missing.new) if fetches else []
    damaged: dict[str, str] = {}
    for at in range(0, len(new), AT_ONCE):
        damaged |= bring(flow, remote, [(ref, ref) for ref in new[at : at + AT_ONCE]], left=left)
    moves = [Push(ref, commit, None) for ref, commit in sorted(missing.own.items())]
    moves += [Push(ref, "", there[ref]) for ref in sorted(missing.released) if ref in there]
    moves = moves if pushes else []
    pushed, refused = 0, ""
    for at in range(0, len(moves), AT_ONCE):
        found = flow.world.remotes.send(remote, moves[at : at + AT_ONCE], seconds=left())
        pushed += sum(one.verdict != "refused" for one in found.values())
        kept_back = (found[ref] for ref in missing.own if ref in found)  # a server may well take nothing away
        refused = next((one.words for one in kept_back if one.verdict == "refused"), refused)
    return Shared(len(new) - len(damaged), pushed, refused, next(iter(damaged.values()), ""))
