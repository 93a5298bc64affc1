"""The private file of one child: who it is, its token, and what must not lie in the state.

It lies at `<common git dir>/codestrator/threads/<thread-id>.json`, readable by the user only, and is never pushed. Who
can read it is that child: only the token's hash is in the state.
"""

import errno
import os
import stat
from pathlib import Path
from typing import Any, Literal

import msgspec

from codestrator import ids
from codestrator.decoding import decoder
from codestrator.errors import Forbidden
from codestrator.ports import Files, Live

FOLDER = "threads"


class ThreadFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a child's runner and its MCP server begin with; commands and environment stay on this machine."""

    thread_id: str
    session_id: str
    token: str
    role: str
    repo: str
    folder: str
    runner_kind: str
    interaction_mode: str = "view_only"
    tmux_tag: str = ""
    split_direction: Literal["vertical", "horizontal"] = "vertical"
    launch_command: str | None = None
    codex_command: str = "codex"
    program: list[str] = []
    environment: dict[str, str] = {}
    prompt: str | None = None
    guide_path: str | None = None
    override: dict[str, Any] = {}
    spawner: tuple[int, str] | None = None  # the process that is to start the runner, and its start


class Told(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a runner says of itself between two publishes; it lies beside the thread's sign of life, never in git."""

    turn: int = 0
    progress: str | None = None
    provider_status: str | None = None
    last_response: str | None = None
    reported_at: str | None = None
    pid: int | None = None
    interrupts: int = 0
    tokens: int = 0
    exit_status: int | None = None


def told(live: Live, thread_id: str) -> Told:
    """The last that a runner said; nothing where that cannot be read."""
    try:
        return decoder(Told).decode(live.told(thread_id) or b"{}")
    except msgspec.MsgspecError:
        return Told()


def tell(live: Live, thread_id: str, said: Told) -> None:
    live.tell(thread_id, msgspec.json.encode(said))


def name_of(thread_id: str) -> str:
    return f"{FOLDER}/{thread_id}.json"


def write(files: Files, found: ThreadFile) -> Path:
    """Write it whole or not at all; its place."""
    files.write(name_of(found.thread_id), msgspec.json.encode(found))
    return files.root / name_of(found.thread_id)


def read(files: Files, place: Path) -> ThreadFile:
    """The file at that place; `forbidden` unless it is one of this repository's own, and the user's alone."""
    thread_id = place.name.removesuffix(".json")
    ours = files.root.resolve() / FOLDER / place.name
    if not (ids.is_whole(thread_id) and place.name == f"{thread_id}.json" and place.parent.resolve() == ours.parent):
        raise refused(f"'{str(place)[:200]}' is no thread's private file of this repository")
    try:
        found = decoder(ThreadFile).decode(_private(ours))
    except msgspec.MsgspecError:
        raise refused(f"'{ours}' is damaged") from None
    if found.thread_id != thread_id:
        raise refused(f"'{ours}' is the file of '{found.thread_id[:80]}'")
    return found


def _private(place: Path) -> bytes:
    """What is in a file that nobody else can have put there or read: a plain one of this user, closed to others."""
    try:
        handle = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        found = "is a link" if error.errno == errno.ELOOP else f"cannot be read ({error.strerror})"
        raise refused(f"'{place}' {found}") from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise refused(f"'{place}' is no plain file")
        if status.st_uid != os.geteuid():
            raise refused(f"'{place}' belongs to user {status.st_uid}")
        if status.st_mode & 0o077:
            raise refused(f"'{place}' is open to others (mode {stat.S_IMODE(status.st_mode):o})")
        return b"".join(iter(lambda: os.read(handle, 65536), b""))
    finally:
        os.close(handle)


def find(files: Files, thread_id: str) -> ThreadFile:
    return read(files, files.root / name_of(thread_id))


def token_hash(token: str) -> str:
    from hashlib import sha256  # loads OpenSSL, which a plain read need not wait for

    return sha256(token.encode()).hexdigest()


def refused(found: str, expected: str = "the one that thread.child.spawn wrote") -> Forbidden:
    """What every file is told that proves nothing."""
    return Forbidden(
        f"{found}, expected {expected}",
        hint="Ask the root to start the child anew with thread.child.directive mode restart.",
        role="child",
        needs="its thread's private file",
    )
