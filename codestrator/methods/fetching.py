"""Fetching from a server that anybody may have pushed to: what is damaged there keeps nothing else from coming."""

from collections.abc import Callable, Sequence

from codestrator.calls import Flow
from codestrator.errors import UnreadableState


def bring(flow: Flow, remote: str, pairs: Sequence[tuple[str, str]], *, left: Callable[[], float]) -> dict[str, str]:
    """Fetch the first of each pair under the name of the second; the refs that git finds damaged, with its words.

    git takes all refs of a fetch or none, so it is asked again for each half of what it did not take. `left` tells the
    seconds that the next call may take.
    """
    if not pairs:
        return {}
    try:
        flow.world.remotes.fetch(remote, pairs, seconds=left())
        return {}
    except UnreadableState as error:
        if len(pairs) == 1:
            return {pairs[0][0]: error.message}
    half = len(pairs) // 2
    first, rest = (bring(flow, remote, some, left=left) for some in (pairs[:half], pairs[half:]))
    return first | rest
