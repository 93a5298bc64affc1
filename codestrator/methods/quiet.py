"""A note for the pre-push hook: that nothing is left to share, in words that a shell reads without a process."""

from collections.abc import Mapping

from codestrator.calls import Flow
from codestrator.records import Lease

NAME = "sync/quiet"
NONE = "-"


def note(flow: Flow, remote: str, tracked: Mapping[str, str]) -> None:
    """Three lines: the remote; the tips of state, locks and notes that it has; the branches that work lands on.

    Nothing is noted where one of them is not there as it is here; the hook then asks the program.
    """
    refs = flow.store.refs
    tips = [refs.read(ref) for ref in tracked]
    if len(tracked) < 3 or tips != [refs.read(place) for place in tracked.values()]:
        return
    head = f"{remote}\n{' '.join(tip or NONE for tip in tips)}\n".encode()
    if (flow.world.files.read(NAME) or b"").startswith(head):
        return  # the branches stand in what these tips name
    targets = sorted(one.target_branch or "" for one in flow.read().found(Lease, domain="merge"))
    flow.world.files.write(NAME, head + f"{' '.join(targets)}\n".encode())
