"""What a process does once when it starts: settle what dead ones left, write the notes that they owed, tidy up."""

from codestrator.calls import Flow
from codestrator.methods import intents, reconciling, releasing
from codestrator.methods.cases import note_of
from codestrator.records import Checkpoint


def recover(flow: Flow) -> None:
    """Finish or reverse acts whose process is gone, complete the notes of checkpoints, release old snapshots."""
    if all(flow.store.tips()):  # another process may be making the first state at this moment
        intents.settle(flow)
        try:
            releasing.release(flow)
        finally:  # where it fails that is told, and nothing else is left undone for it
            complete_notes(flow)  # after what publishes: up to the newest operation
            reconciling.reconcile(flow)


def complete_notes(flow: Flow) -> int:
    """Write the note lines that are missing; how many checkpoints were looked at."""
    tx = flow.read()
    upto, tip = flow.world.notes.upto(), tx.base.state_commit
    owed: list[Checkpoint] = []
    for operation in flow.store.journal(tip):
        if operation.commit == upto:
            break
        new = [one.id for one in operation.documents() if one.kind == Checkpoint.KIND and one.old is None]
        owed += [found for one in new if (found := tx.get(Checkpoint, one))]
    if upto != tip:
        flow.world.notes.complete((note_of(checkpoint) for checkpoint in reversed(owed)), tip)
    return len(owed)
