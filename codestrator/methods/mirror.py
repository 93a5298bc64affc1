"""The mirror: one page of the state in the user's folder, written when asked for, and whether it is out of date."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from msgspec import Meta

from codestrator import table, text
from codestrator.calls import Caller, Flow, Tx
from codestrator.errors import Busy, CodestratorError, Forbidden, InvalidParams, WrongState
from codestrator.methods import intents, mirrored
from codestrator.params import Params, Path, Title
from codestrator.records import Intent, Mirror

ID = LOCK = "mirror"
DEFAULT = ".codestrator/mirror/status.md"
PLACES = (".codestrator", "docs")
WAIT_SECONDS = 10.0
_one_at_a_time = threading.Lock()  # a kernel lock is the whole process's; this is for its threads


class Status(Params, frozen=True, kw_only=True):
    pass


class Refresh(Params, frozen=True, kw_only=True):
    requester_role: Annotated[Title, Meta(description=f"{table.MIRROR}; a root or a person may act as it")]
    target_path: Annotated[
        Path | None, Meta(description=f"under .codestrator/ or docs/; default: the last one, else {DEFAULT}")
    ] = None


class _Look:
    """One picture as a page, beside the page that was written last."""

    def __init__(self, flow: Flow) -> None:
        tx = flow.read()
        self.version = tx.base.db_version
        self.content = mirrored.content(tx)
        self.digest = _digest(self.content.encode())
        self.known = tx.get(Mirror, ID)
        known = self.known
        self.outdated = known is None or known.digest != self.digest or not _is_there(flow, known)

    def shown(self) -> dict[str, Any]:
        return {
            "db_version": self.version,
            "md_version": self.known.md_version if self.known else None,
            "md_path": self.known.md_path if self.known else None,
            "outdated": self.outdated,
            "updated_at": self.known.updated_at if self.known else None,
        }


def status(flow: Flow, want: Status) -> dict[str, Any]:
    """Tell whether the page says what the state says, and where it is.

    Renewals do not make it outdated, but a page that was removed or edited is. `db_version` counts all operations.
    """
    return _Look(flow).shown()


def refresh(flow: Flow, want: Refresh) -> dict[str, Any]:
    """Write the state as a Markdown page in the main worktree, whole or not at all.

    Where nothing changed the page keeps its bytes and nothing is published. What lies under `.codestrator/` stays
    out of `git status`; a file under `docs/` is yours to commit, and is not replaced while it has changes.
    """
    _check_role(flow.caller, want.requester_role)
    if flow.world.bare:
        raise WrongState(
            f"'{flow.world.repo}' is bare, expected a repository with a main worktree for the page",
            hint="Read session.list and task.list instead.",
            found="bare",
            expected="a main worktree",
        )
    with _alone(flow):
        look = _Look(flow)
        path = _target(want.target_path or (look.known.md_path if look.known else DEFAULT))
        if look.outdated or look.known is None or look.known.md_path != path:
            flow.world.pages.check(path, mirrored.MARK.encode())
            _write(flow, look, path)
        return {"outdated_before_refresh": look.outdated, "mirror_status": _Look(flow).shown(), "path": path}


def _check_role(caller: Caller, stated: str) -> None:
    if stated == table.MIRROR and (caller.is_root or caller.role == table.MIRROR):
        return
    raise Forbidden(
        f"'requester_role' is '{stated}' for a caller of role '{caller.role}', expected '{table.MIRROR}'",
        hint=f"Give requester_role '{table.MIRROR}', as that role, as a root or as a person.",
        role=stated,
        method="mirror.refresh",
        needs=table.MIRROR,
    )


def _target(given: str) -> str:
    """The place of a page; asked of what the state says too, which may have come from anywhere."""
    path = text.repository_path(given, "target_path")
    if path.partition("/")[0] in PLACES and "/" in path:
        return path
    raise InvalidParams(
        f"'target_path' is '{path[:200]}', expected a file under {' or '.join(f'{one}/' for one in PLACES)}",
        hint=f"Leave it out for '{DEFAULT}', or name a file under docs/.",
        field="target_path",
        found=path[:200],
        expected=[f"{one}/…" for one in PLACES],
    )


@contextmanager
def _alone(flow: Flow) -> Iterator[None]:
    """Keep a second refresh waiting: it might write an older picture over a newer one. `Busy` after ten seconds."""
    busy = Busy(
        f"another refresh of the mirror has gone on for {WAIT_SECONDS:g} s, expected it to end",
        hint="Call the same again in a few seconds.",
        waited_seconds=WAIT_SECONDS,
    )
    if not _one_at_a_time.acquire(timeout=WAIT_SECONDS):
        raise busy
    try:
        if not any(flow.world.live.take(LOCK) for _ in flow.world.waiting(WAIT_SECONDS)):
            raise busy
        try:
            yield
        finally:
            flow.world.live.leave(LOCK)
    finally:
        _one_at_a_time.release()


def _write(flow: Flow, look: _Look, path: str) -> None:
    """Announce it, write it, record it; a page that only has to be put back keeps its version, and so its bytes."""
    same = look.known is not None and look.known.digest == look.digest
    version = look.known.md_version if same and look.known else look.version
    page = Mirror(id=ID, md_version=version, md_path=path, digest=look.digest)
    about = {"md_version": version, "md_path": path, "digest": look.digest}
    intent_id = flow.transact(lambda tx: intents.plan(flow, tx, "write_mirror", **about).id)
    try:
        flow.world.pages.write(path, (mirrored.head(version) + look.content).encode())
    except CodestratorError as error:
        message = error.message
        flow.transact(lambda tx: intents.end(tx, intent_id, "failed", message=message))
        raise
    flow.transact(lambda tx: _record(tx, page, intent_id))


def _record(tx: Tx, page: Mirror, intent_id: str) -> None:
    tx.put(page)
    intents.end(tx, intent_id, "done")


def settle(flow: Flow, intent: Intent) -> intents.Publish:
    """Record a page that was written to its end; one that was not is written by the next refresh."""
    args = intent.args
    path, digest = str(args["md_path"]), str(args["digest"])
    page = Mirror(id=ID, md_version=int(args["md_version"]), md_path=path, digest=digest)
    if _is_there(flow, page):
        return lambda tx: _record(tx, page, intent.id)
    return lambda tx: intents.end(tx, intent.id, "reversed")


def _is_there(flow: Flow, page: Mirror) -> bool:
    """Whether the file is, byte for byte, the page that was written."""
    try:
        found = flow.world.pages.read(_target(page.md_path))
    except InvalidParams:  # of a state that somebody made by hand
        return False
    head = mirrored.head(page.md_version).encode()
    return found is not None and found.startswith(head) and _digest(found[len(head) :]) == page.digest


def _digest(content: bytes) -> str:
    from hashlib import sha256  # loads OpenSSL, which a server that never mirrors can do without

    return sha256(content).hexdigest()
