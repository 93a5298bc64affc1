"""`codestrator.*` of git config, with defaults and ranges; and the id of this clone."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from codestrator import ids
from codestrator.errors import InvalidParams
from codestrator.world.files import PrivateFiles
from codestrator.world.machine import read_machine

# What may be set; some of it is for what comes with a later version.
KNOWN = (
    "machine", "remote", "authority", "refPrefix", "worktreeRoot", "maxChildren", "allowInstall", "tmuxSocket",
    "durable", "syncTimeout", "hookTimeout", "snapshotMaxBytes", "guideRoot", "scanSecrets",
)  # fmt: skip
T = TypeVar("T")
ROOT = ".codestrator/worktrees"
PREFIX = "refs/codestrator/"
BYTES = 50 * 1024 * 1024
_UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3}
_PREFIX = r"refs/[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*/?"
_OTHERS = ("refs/heads/", "refs/tags/", "refs/remotes/", "refs/notes/")
_NUMBER = r"(\d{1,15})([kmgKMG]?)"


class LocalSettings(Struct, kw_only=True):
    """As read when the process began, or a server's call."""

    machine: str
    remote: str | None = None
    authority: str = "local"
    worktree_root: str = ROOT
    max_children: int = 6
    allow_install: bool = False
    tmux_socket: str | None = None
    durable: bool = False
    snapshot_max_bytes: int = BYTES
    guide_root: str | None = None
    known: tuple[str, ...] = KNOWN
    wrong: tuple[InvalidParams, ...] = ()
    ref_prefix: str = PREFIX
    sync_timeout: int = 10
    hook_timeout: int = 5
    scan_secrets: bool = True


def read_settings(
    config: Callable[[str], str | None], files: PrivateFiles, *, forgiving: bool = False, machine: str = ""
) -> LocalSettings:
    """Read all of them; `InvalidParams` names the first value that is not as expected.

    `forgiving`: the default stands for such a value, `wrong` tells of it, and nothing is written. `machine`: the id
    that this process has already.
    """
    wrong: list[InvalidParams] = []

    def read(get: Callable[[], T], default: Callable[[], T]) -> T:
        try:
            return get()
        except InvalidParams as error:
            if not forgiving:
                raise
            wrong.append(error)
            return default()

    found = LocalSettings(
        authority=read(lambda: _authority(config), lambda: "local"),
        machine=machine or read(lambda: _own_machine(config, files, forgiving), ids.mint_body),
        worktree_root=read(lambda: _root(config), lambda: ROOT),
        remote=config("codestrator.remote"),
        max_children=read(lambda: _number(config, "maxChildren", 6, 1, 16), lambda: 6),
        allow_install=read(lambda: _flag(config, "allowInstall"), bool),
        tmux_socket=config("codestrator.tmuxSocket"),
        durable=read(lambda: _flag(config, "durable"), bool),
        snapshot_max_bytes=read(lambda: _number(config, "snapshotMaxBytes", BYTES, 0, 1024**4), lambda: BYTES),
        guide_root=config("codestrator.guideRoot"),
        ref_prefix=read(lambda: _prefix(config("codestrator.refPrefix")), lambda: PREFIX),
        sync_timeout=read(lambda: _number(config, "syncTimeout", 10, 1, 50), lambda: 10),
        scan_secrets=read(lambda: _flag(config, "scanSecrets", "true"), lambda: True),
        hook_timeout=read(lambda: _number(config, "hookTimeout", 5, 1, 20), lambda: 5),
    )
    found.wrong = tuple(wrong)
    return found


def _authority(config: Callable[[str], str | None]) -> str:
    authority = config("codestrator.authority") or "local"
    if authority not in ("local", "remote"):
        raise _refuse("authority", authority, "local or remote")
    return authority


def _own_machine(config: Callable[[str], str | None], files: PrivateFiles, forgiving: bool) -> str:
    machine = config("codestrator.machine") or read_machine(files, mint=not forgiving)
    if machine is None:
        return ids.mint_body()  # of nobody, for as long as this process only looks
    if ids.kind_of(machine) != "machine":
        raise _refuse("machine", machine, f"{ids.LENGTH} characters of {ids.ALPHABET}")
    return machine


def _root(config: Callable[[str], str | None]) -> str:
    root = config("codestrator.worktreeRoot") or ROOT
    if not Path(root).is_absolute() and (".." in Path(root).parts or Path(root).parts[:1] in ((), (".git",))):
        raise _refuse("worktreeRoot", root, "a folder below the repository's root, or an absolute path")
    return root


def _prefix(found: str | None) -> str:
    """Where a remote keeps our refs: a folder of refs, spelled as git wants it; never all of its branches or tags."""
    if not found:
        return PREFIX
    whole = found if found.endswith("/") else f"{found}/"
    if not re.fullmatch(_PREFIX, found) or ".." in found or whole in _OTHERS:
        raise _refuse("refPrefix", found, "a folder of refs such as refs/heads/codestrator/")
    return whole


def _flag(config: Callable[[str], str | None], name: str, default: str = "false") -> bool:
    value = (config(f"codestrator.{name}") or default).lower()
    if value not in ("true", "yes", "on", "1", "false", "no", "off", "0"):
        raise _refuse(name, value, "true or false")
    return value in ("true", "yes", "on", "1")


def _number(config: Callable[[str], str | None], name: str, default: int, low: int, high: int) -> int:
    value = config(f"codestrator.{name}")
    if value is None:
        return default
    found = re.fullmatch(_NUMBER, value.strip())
    number = int(found[1]) * _UNITS.get(found[2].lower(), 1) if found else -1
    if not low <= number <= high:
        raise _refuse(name, value, f"a number from {low} to {high}")
    return number


def _refuse(name: str, found: str, expected: str) -> InvalidParams:
    return InvalidParams(
        f"git config 'codestrator.{name}' is '{found[:80]}', expected {expected}",
        hint=f"Correct it with git config codestrator.{name}.",
        field=f"codestrator.{name}",
        found=found[:80],
        expected=expected,
    )
