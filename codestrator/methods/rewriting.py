"""After an amend or a rebase: what was said of the old commits is said of the new ones too."""

from collections.abc import Mapping

from codestrator import ids
from codestrator.calls import Flow, Tx
from codestrator.methods.recording import note_of
from codestrator.records import Checkpoint


def follow(flow: Flow, pairs: Mapping[str, str]) -> int:
    """Copy the note lines of each old commit to its new one, and record the pair in their checkpoints.

    Doing it again changes nothing. How many checkpoints were found.
    """
    noted = {old: flow.world.notes.lines(old) for old in pairs}
    met = {
        old: [line["cp"] for line in lines if isinstance(line.get("cp"), str) and ids.is_whole(line["cp"])]
        for old, lines in noted.items()
    }
    found: dict[str, Checkpoint] = {}

    def act(tx: Tx) -> None:
        found.clear()
        for old, new in pairs.items():
            known = [row.id for row in tx.where(Checkpoint, commit=old)]
            for one in dict.fromkeys([*known, *met[old]]):
                checkpoint = found.get(one) or tx.get(Checkpoint, one)
                if checkpoint is not None:
                    found[one] = tx.put(checkpoint.but(rewritten=checkpoint.rewritten | {old: new}))

    flow.transact(act)
    for checkpoint in found.values():  # also those whose own line another process has not written yet
        if new := pairs.get(checkpoint.commit):
            flow.world.notes.add(new, note_of(checkpoint)[1])
    for old, lines in noted.items():
        for line in lines:
            flow.world.notes.add(pairs[old], line)
    return len(found)
