"""Worktrees and snapshots: what the state says of them beside what is there."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from codestrator import ids
from codestrator.calls import Tx
from codestrator.clock import parse, rfc3339
from codestrator.errors import SchemaNewer, UnreadableState
from codestrator.methods import placing, releasing, rescue
from codestrator.methods.doctor.look import Found, Item, Look, error, mendable, ok, warning
from codestrator.methods.places import path_of
from codestrator.records import Rescue, Worktree
from codestrator.text import counted

RESCUED = "refs/codestrator/rescue/"
KEPT = f"{RESCUED}doctor/"
MANY_SNAPSHOTS = 1_000


def worktrees(look: Look) -> Found:
    """Every worktree of this machine is where the state says, and git knows no other below our folder."""
    tx, found = look.tx, 0
    ours: set[Path] = set()
    for worktree in sorted(tx.all(Worktree), key=lambda one: one.id):
        folder = path_of(tx, worktree)
        if folder is not None:
            ours |= {folder, folder.resolve()}
        for item in _of_one(look, worktree, folder):
            found += 1
            yield item
    for seen in look.world.worktrees.folders():
        if seen.prunable and seen.path not in ours:
            found += 1
            said = f"git knows a worktree at '{seen.path}', which is gone"
            yield warning(said, "its branch counts as checked out", "git worktree prune --dry-run --verbose")
        elif _below_ours(look, seen.path) and seen.path not in ours:
            found += 1
            said = f"'{seen.path}' is a worktree among ours that the state does not know"
            yield warning(
                said, "nothing is done to it", f"git -C {shlex.quote(str(seen.path))} status --short --branch"
            )
    if not found:
        yield ok(f"{counted(len(ours), 'worktree')} in place, as the state says")


def _below_ours(look: Look, path: Path) -> bool:
    return placing.root_folder(look.flow) in path.parents


def _of_one(look: Look, worktree: Worktree, folder: Path | None) -> Found:
    place = worktree.places.get(look.tx.machine)
    if folder is None or place is None or worktree.kind == "main" or place.status == "planned":
        return
    if place.status == "active" and worktree.status == "active" and not folder.is_dir():
        yield mendable(
            "warning",
            f"'{worktree.id}' should be at '{place.path}', where nothing is",
            _moved_to(look, worktree, folder)
            or f"its branch '{worktree.branch}' is untouched; rescue.restore brings a snapshot back",
            lambda: _mark(look, worktree.id, "lost"),
        )
    elif place.status == "lost" and (folder / ".git").exists():
        yield mendable(
            "warning",
            f"'{worktree.id}' counts as lost, and is at '{place.path}'",
            "nobody works there",
            lambda: _mark(look, worktree.id, "active"),
        )
    elif place.status == "active" and folder.is_dir():
        yield from _branch_of(look, worktree, folder)


def _moved_to(look: Look, worktree: Worktree, folder: Path) -> str | None:
    """What to do where git knows of the folder at another place, because somebody moved it with git."""
    elsewhere = (one.path for one in look.world.worktrees.folders() if one.branch == worktree.branch)
    found = next((one for one in elsewhere if worktree.branch and one != folder and one.is_dir()), None)
    if found is None:
        return None
    back = f"git worktree move --force --force {shlex.quote(str(found))} {shlex.quote(str(folder))}"
    return f"git has it at '{found}', where it speaks for no session; {back} brings it back"


def _branch_of(look: Look, worktree: Worktree, folder: Path) -> Found:
    status, out, _ = look.git("symbolic-ref", "--quiet", "--short", "HEAD", at=folder)
    if status not in (0, 1) or not (folder / ".git").exists():  # 1: detached; else it is of a folder above
        said = f"'{worktree.id}' at '{folder}' is a folder that git takes for no worktree"
        yield error(said, "nobody can work there", f"git worktree repair {shlex.quote(str(folder))}")
        return
    branch = out.strip() if status == 0 else None
    if worktree.branch and branch != worktree.branch and not look.world.worktrees.operation(folder):
        yield warning(
            f"'{worktree.id}' has '{branch or 'no branch'}' checked out, expected '{worktree.branch}'",
            "commits made there are not those that are reviewed and landed",
            f"git -C {shlex.quote(str(folder))} status --short --branch",
        )


def _mark(look: Look, worktree_id: str, status: Any) -> bool:
    def act(tx: Tx) -> bool:
        worktree = tx.require(Worktree, worktree_id)
        folder, place = path_of(tx, worktree), worktree.places[tx.machine]
        if folder is None or folder.is_dir() != (status == "active"):
            return False
        tx.put(worktree.but(places=worktree.places | {tx.machine: place.but(status=status)}))
        return True

    return look.flow.transact(act, worktree_id)


def snapshots(look: Look) -> Found:
    """Every snapshot has its ref, its document and its commit."""
    refs = dict(line.split(" ") for line in look.git(*LIST)[1].splitlines())
    kept = {ref: oid for ref, oid in refs.items() if not ref.startswith(KEPT)}
    known = {rescue.ref_of(one): one for one in look.tx.all(Rescue)}
    gone = releasing.released(look.tx, kept)
    kept = {ref: oid for ref, oid in kept.items() if ref not in gone}
    known = {ref: one for ref, one in known.items() if not one.released_at or ref in kept}
    items = [*(_of_document(look, ref, one, kept.get(ref)) for ref, one in sorted(known.items()))]
    items += [_of_ref(look, ref, kept[ref]) for ref in sorted(kept.keys() - known.keys())]
    found = [one for one in items if one is not None]
    yield from (one for one in found if one.repair)
    yield from [one for one in found if one.repair is None][: look.named]
    total = sum(one.bytes for one in known.values())
    if len(known) > MANY_SNAPSHOTS:
        said = f"{counted(len(known), 'snapshot')} with {total} bytes"
        yield warning(said, "each fetch and push lists them all", "git codestrator rescue list")
    elif not found:
        backups = len({ref.split("/")[4] for ref in refs if ref.startswith(KEPT)})
        yield ok(f"{counted(len(known), 'snapshot')} with {total} bytes, {counted(backups, 'backup')} of doctor")


LIST = ("for-each-ref", "--format=%(refname) %(objectname)", RESCUED)


def _of_document(look: Look, ref: str, snapshot: Rescue, tip: str | None) -> Item | None:
    if not look.sound.readable(snapshot.commit) and snapshot.writer != look.tx.machine:
        call = "git codestrator sync run" if look.settings.remote else f"git show-ref {ref}"
        return warning(f"'{snapshot.id}' is only on machine '{snapshot.writer}'", "it cannot be restored here", call)
    if not look.sound.readable(snapshot.commit):
        away = f"git fetch {shlex.quote(look.settings.remote)} {ref}" if look.settings.remote else f"git show-ref {ref}"
        return error(f"the commit '{snapshot.commit}' of '{snapshot.id}' is missing", "it cannot be restored", away)
    if tip is None:
        call = f"git update-ref {ref} {snapshot.commit}"
        return error(f"'{snapshot.id}' has lost its ref '{ref}'", "git gc will delete what it keeps", call)
    if tip != snapshot.commit:
        said = f"'{ref}' is at '{tip[:12]}', its document says '{snapshot.commit[:12]}'"
        return warning(said, "git gc will delete what the document names", f"git diff --stat {snapshot.commit} {ref}")
    return None


def _of_ref(look: Look, ref: str, commit: str) -> Item | None:
    worktree_id, _, snapshot_id = ref.removeprefix(RESCUED).partition("/")
    try:
        look.tx.get(Rescue, snapshot_id)
    except (UnreadableState, SchemaNewer):
        return None  # its document is there or was: `documents` says so
    if ids.kind_of(worktree_id) != "worktree" or ids.kind_of(snapshot_id) != "rescue":
        return warning(f"'{ref}' is no snapshot of ours", "nothing is done to it", f"git show --stat {ref}")
    if not look.sound.readable(commit):
        return error(f"the commit '{commit}' of '{ref}' is missing", "it cannot be restored", f"git show-ref {ref}")
    said = f"'{ref}' has no document"
    return mendable("warning", said, "rescue.list does not show it", _adopter(look, worktree_id, snapshot_id, commit))


def _adopter(look: Look, worktree_id: str, snapshot_id: str, commit: str) -> Callable[[], bool]:
    def adopt() -> bool:
        snapshot = _document(look, worktree_id, snapshot_id, commit)

        def act(tx: Tx) -> bool:
            if tx.get(Rescue, snapshot_id) is None:
                tx.put(snapshot)
            return True

        return look.flow.transact(act, snapshot_id)

    return adopt


def _document(look: Look, worktree_id: str, snapshot_id: str, commit: str) -> Rescue:
    """What its commit says of it; the branch it was on is not in there."""
    git = look.world.git
    tree, head, at, subject = git.run("show", "-s", "--format=%T%n%P%n%cI%n%s", commit).split("\n", 3)
    head = head.split(" ")[0] if head else commit
    changed = git.run("diff-tree", "-r", "--raw", "--no-abbrev", "--no-renames", "-z", head, commit).split("\0")
    oids = [line.split(" ")[3] for line in changed if line.startswith(":")]
    asked = "".join(f"{one}\n" for one in oids if set(one) != {"0"})
    sizes = git.run("cat-file", "--batch-check=%(objectsize)", stdin=asked.encode()).split() if asked else []
    return Rescue(
        id=snapshot_id,
        worktree_id=worktree_id,
        commit=commit,
        tree=tree,
        head=head,
        reason=subject.partition(" ")[0] or "adopted",
        files=len(oids),
        bytes=sum(int(one) for one in sizes if one.isdigit()),
        created_at=rfc3339(parse(at)),
    )
