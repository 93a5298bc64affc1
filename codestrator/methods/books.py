"""Two histories become one; of leases in two lock books that overlap, that with the greater (fence, machine) stays."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from codestrator.calls import Flow
from codestrator.methods import liveness, overlap
from codestrator.records import Lease
from codestrator.store.documents import LOCKS

if TYPE_CHECKING:
    from codestrator.store.joining import Joined, Picture


def joined(flow: Flow, remote: str, ref: str, ours: str | None, theirs: str) -> "Joined":
    """All of both histories in one commit, which is not yet anybody's tip."""
    from codestrator.store.joining import join  # which loads libgit2, and this module is read to describe a method

    stamp = flow.stamp(f"of '{remote}'")
    finish = arbitrated if ref == LOCKS else None
    return join(flow.store, ref, ours, theirs, message=stamp.message(""), finish=finish)


def arbitrated(picture: "Picture") -> list[Lease]:
    """The leases that lost, marked so: each machine granted its own before it had heard of the other."""
    held = sorted(_held(picture), key=lambda one: (one.fence, one.machine, one.id), reverse=True)
    kept: list[Lease] = []
    lost: list[Lease] = []
    for lease in held:
        rivals = (one for one in kept if one.session_id != lease.session_id and overlap.overlaps(one, lease))
        (lost if next(rivals, None) else kept).append(lease)
    return [lease.but(state="lost", rev=picture.counter) for lease in lost]


def note_first_sight(flow: Flow) -> None:
    """From now on the leases that other machines hold are counted, each renewal of theirs anew."""
    tx = flow.read()
    for lease in tx.found(Lease, state="held"):
        file = liveness.lease_file(lease)
        nonce = lease.nonce.encode()
        if lease.machine != tx.machine and (tx.live.beat(file) is None or tx.live.told(file) != nonce):
            tx.live.tell(file, nonce)
            tx.live.renew(file, ttl_seconds=liveness.patience(lease))


def _held(picture: "Picture") -> Iterator[Lease]:
    for row in picture.rows(Lease):
        if row.domain == "paths" and row.state == "held":
            lease: Lease = picture.get(Lease, row.id)
            yield lease
