"""The table of checks, in the order in which they are made: what others rest on comes first."""

from collections.abc import Callable
from typing import NamedTuple

from codestrator.methods.doctor import children, configured, documents, folders, held, landing, programs, refs
from codestrator.methods.doctor.look import Found, Look


class Check(NamedTuple):
    """One kind of thing that is looked at; `state`: only where the state can be read; `repairs`: what `fix` does."""

    id: str
    run: Callable[[Look], Found]
    state: bool = False
    repairs: str = ""

    @property
    def about(self) -> str:
        return (self.run.__doc__ or "").strip()


CHECKS = (
    Check("git", programs.git),
    Check("tmux", programs.tmux),
    Check("codex", programs.codex),
    Check("hooks", programs.hooks),
    Check("settings", configured.settings),
    Check("refspecs", configured.refspecs),
    Check("remote", configured.remote),
    Check("locks", refs.locks, repairs="puts those of our refs aside"),
    Check("state", refs.state, repairs="points a broken or vanished ref to the newest recent tip that is whole"),
    Check("journal", refs.journal),
    Check("size", refs.size),
    Check("clock", refs.clock),
    Check("schema", documents.schema),
    Check("documents", documents.documents, state=True),
    Check("program", programs.program, state=True),
    Check("authority", configured.authority, state=True),
    Check("intents", held.begun, state=True, repairs="completes or reverses them"),
    Check("leases", held.lapsed, state=True, repairs="takes back those of ended and silent sessions"),
    Check("fences", held.fences, state=True, repairs="raises the counter"),
    Check("worktrees", folders.worktrees, state=True, repairs="marks a place as lost, or as found again"),
    Check("snapshots", folders.snapshots, state=True, repairs="adopts those without a document"),
    Check(id="notes", run=documents.notes, state=True, repairs="writes the lines that are missing"),
    Check("references", documents.references, state=True),
    Check("children", children.gone, state=True),
    Check("cases", held.cases, state=True),
    Check("queue", landing.waiting, state=True),
    Check("approvals", landing.approvals, state=True),
    Check("secrets", documents.secrets, state=True),
)
BY_ID = {check.id: check for check in CHECKS}
