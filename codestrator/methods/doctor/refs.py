"""The refs that the state lies in, as git sees them: whether they are whole, locked, too many; and the clock."""

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from codestrator.errors import SchemaNewer
from codestrator.methods.doctor.look import Found, Item, Look, error, mendable, ok, some, warning
from codestrator.store.documents import OF_DOCUMENTS
from codestrator.text import counted

YOUNG_SECONDS = 60  # a program of the user may take so long, before its lock file is worth a word
AHEAD_SECONDS = 5
MANY_REFS = 10_000
LOOSE = 6_700  # git's own limit where the user has set none
PATHS = ("refs/codestrator/", "refs/notes/codestrator")


def state(look: Look) -> Found:
    """State and lock book are there, and can be read."""
    damaged = {ref: look.sound.broken(ref) for ref in OF_DOCUMENTS}
    gone = [ref for ref, damage in damaged.items() if damage is None and look.sound.tip(ref) is None]
    for ref, damage in damaged.items():
        if damage is not None and not isinstance(damage, SchemaNewer):
            yield _broken(look, ref, damage.message)
    if len(gone) == len(OF_DOCUMENTS):
        yield warning(
            "there is no state in this repository", "there is nothing to look at", "git codestrator workspace init"
        )
    elif gone:
        yield _broken(look, gone[0], f"'{gone[0]}' is missing, and '{(set(OF_DOCUMENTS) - set(gone)).pop()}' is there")
    elif look.readable:
        yield ok(f"state at '{look.sound.tip(OF_DOCUMENTS[0])}', lock book at '{look.sound.tip(OF_DOCUMENTS[1])}'")


def _broken(look: Look, ref: str, message: str) -> Item:
    last = look.sound.newest_whole(ref)
    if last is None:
        remote = look.settings.remote
        away = f"git fetch {shlex.quote(remote)} {ref}:{ref}" if remote else "git fsck --unreachable --no-reflogs"
        return error(f"{message}; none of its recent tips is whole", "nothing can be read or written", away)
    finding = f"{message}; it was whole at '{last}'"
    return mendable("error", finding, "nothing can be read or written", lambda: look.sound.put_back(ref, last))


def locks(look: Look) -> Found:
    """No lock file of a ref was left by a program that died; those of the user's refs are only named."""
    stale, total = 0, 0
    for place in _lock_files(look.world.common_dir):
        name = place.relative_to(look.world.common_dir).as_posix()
        try:
            age = look.flow.now().at.timestamp() - place.stat().st_mtime
        except FileNotFoundError:
            continue
        total += 1
        ref = name.removesuffix(".lock")
        if ref.startswith(PATHS) and age >= 2:
            stale += 1
            yield mendable(
                "error", f"'{name}' was left {age:.0f} s ago", "the ref cannot be moved", _breaker(look, ref, place)
            )
        elif not ref.startswith(PATHS) and age >= YOUNG_SECONDS:
            stale += 1
            yield warning(
                f"'{name}' is {age:.0f} s old, and not ours",
                "git cannot write there until the program that has it ends, or you remove what a dead one left",
                f"ls -l {shlex.quote(str(place))}",
            )
    if not stale:
        yield ok(f"{total} lock files, none of them old")


def _lock_files(common: Path) -> Iterator[Path]:
    yield from sorted((common / "refs").rglob("*.lock"))
    for name in ("HEAD.lock", "packed-refs.lock", "index.lock", "config.lock"):
        if (common / name).exists():
            yield common / name
    yield from sorted((common / "worktrees").glob("*/*.lock"))


def _breaker(look: Look, ref: str, place: Path) -> Callable[[], bool]:
    """Put it aside: with the gate held, the same file on two looks; true too where somebody else has done it."""

    def put_aside() -> bool:
        refs = look.flow.store.refs
        with look.world.gate() as held:
            return held and (refs.break_stale(ref) or refs.break_stale(ref) or not place.exists())

    return put_aside


def size(look: Look) -> Found:
    """Refs and loose objects are few enough for git to be fast."""
    refs = len(look.git("for-each-ref", "--format=%(refname)")[1].splitlines())
    counted = dict(line.split(": ") for line in look.git("count-objects", "-v")[1].splitlines() if ": " in line)
    loose, limit = int(counted.get("count", "0")), look.world.git.config("gc.auto") or str(LOOSE)
    few = int(limit) if limit.isdigit() and int(limit) > 0 else LOOSE
    if refs > MANY_REFS:
        yield warning(f"{refs} refs", "each fetch and push lists them all", "git pack-refs --all")
    if loose > few:
        yield warning(f"{loose} loose objects, expected at most {few}", "git is slower", "git gc")
    if refs <= MANY_REFS and loose <= few:
        yield ok(f"{refs} refs, {loose} loose objects, {counted.get('packs', '0')} packs")


def clock(look: Look) -> Found:
    """The clock is not behind the times that files and the state carry."""
    common = look.world.common_dir
    now = look.flow.now().at.timestamp()
    files = [common / ref for ref in OF_DOCUMENTS] + [common / "codestrator" / "tips", common / "HEAD"]
    files += list((common / "codestrator" / "live").glob("*"))[:1000]
    ahead = {str(one): one.stat().st_mtime - now for one in files if one.is_file()}
    late = sorted((name for name, seconds in ahead.items() if seconds > AHEAD_SECONDS), key=lambda one: -ahead[one])
    if late:
        yield warning(
            f"'{late[0]}' was written {ahead[late[0]]:.0f} s after now",
            "clock and file system disagree: ages of locks and times in the state are not to be trusted",
            f"ls -l {shlex.quote(late[0])}",
        )
    else:
        yield ok("the clock agrees with the file system")


def journal(look: Look) -> Found:
    """The history of state and lock book is whole."""
    lost = {ref: look.sound.breaks(ref) for ref in OF_DOCUMENTS}
    for ref, commits in lost.items():
        for commit in commits[: look.named]:
            yield error(
                f"commit '{commit}' of '{ref}' is missing or damaged",
                "the journal ends there; what the state says now is not touched by it",
                "git fsck --full --no-dangling",
            )
    if any(lost.values()):
        return
    tips = [tip for ref in OF_DOCUMENTS if (tip := look.sound.tip(ref))]
    words = ("rev-list", "--objects", "--no-object-names", "--missing=print", *tips, "--")
    status, out, err = look.git(*words, seconds=120)
    missing = [line[1:] for line in out.splitlines() if line.startswith("?")]
    if missing or status:
        found = (
            f"the journal lacks {counted(len(missing), 'object')}: {some(missing)}" if missing else err.strip()[-200:]
        )
        yield error(found, "earlier states cannot be shown, and git gc fails", "git fsck --full --no-dangling")
    else:
        yield ok(f"{counted(len(out.splitlines()), 'object')} in the journal, none missing")
