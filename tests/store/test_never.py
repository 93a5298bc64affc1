"""What was seen to lose data is never done: by the source text where only that can tell, by what happens otherwise."""

import ast
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from codestrator.clock import Clock, rfc3339
from codestrator.errors import Unsupported
from codestrator.ports import Contention, Move
from codestrator.records import Lease
from codestrator.store.notes import NoteBook
from codestrator.store.store import Store
from codestrator.world import open_world
from tests.store.kit import LOCKS, MACHINE, STATE, git, loose, outcomes, put, raise_priority, store_of, task, together

CODE = Path(__file__).parents[2] / "codestrator"

# Calls of pygit2 that lost data, each with what it did.
CALLS = {
    "create_reference_direct": "as a lock it let two writers win",
    "create_reference": "as a lock it let two writers win",
    "create_branch": "as a lock it let two writers win",
    "create_note": "notes of two processes were lost",
    "remove_note": "notes of two processes were lost",
    "push": "two winners in a race; the git program with a lease instead",
    "merge_trees": "rename detection moved one document's edit into another",
    "merge_commits": "rename detection moved one document's edit into another",
    "merge_file_from_index": "documents are merged field by field",
    "cherrypick": "documents are merged field by field",
    "SET_EXTENSIONS": "reftable and sha256 repositories would be written where git never looks",
    "set_extensions": "reftable and sha256 repositories would be written where git never looks",
    "prune": "it deletes the user's unreachable work",
}
# `x.delete()` and `x.remove()` of pygit2 delete refs, which then come back or take others with them.
DELETERS = ("delete", "remove")
OUR_OWN = re.compile(r"packs$")
# First words given to the git program.
COMMANDS = {
    "gc": "it deletes the user's unreachable work",
    "prune": "it deletes the user's unreachable work",
    "repack": "the user's packs are the user's",
    "maintenance": "the user's packs are the user's",
    "pack-refs": "beside a deleting writer, user branches vanished",
    "notes": "notes of two processes were lost",
    "reflog": "it expires the user's way back",
}
MERGES_BRANCHES = CODE / "world" / "branches.py"
SETTINGS = re.compile(r"(gc|remote|maintenance|core|pack|fetch|extensions)\.")


def offences(source: str, *, may_merge: bool = False) -> Iterator[str]:
    """What a module does that must never be done, one line each."""
    deleters = DELETERS if "pygit2" in source else ()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in CALLS:
            yield f"line {node.lineno}: {node.attr}: {CALLS[node.attr]}"
        if isinstance(node, ast.Call):
            yield from (f"line {node.lineno}: {one}" for one in _of_call(node, may_merge, deleters))


def _of_call(node: ast.Call, may_merge: bool, deleters: tuple[str, ...]) -> Iterator[str]:
    if isinstance(node.func, ast.Attribute) and node.func.attr in deleters:
        receiver = ast.unparse(node.func.value)
        if not OUR_OWN.search(receiver):
            yield f"{receiver}.{node.func.attr}: deleted refs came back, and others vanished"
    words = [one.value for one in _flat(node.args) if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    words = words[1:] if words[:1] == ["git"] else words
    if not words:
        return
    if words[0] in COMMANDS:
        yield f"git {words[0]}: {COMMANDS[words[0]]}"
    if words[0] == "merge-tree" and not may_merge:
        yield "git merge-tree: rename detection moved one document's edit into another"
    if words[0] == "config" and any(SETTINGS.match(word) for word in words[1:]) and "--get" not in words:
        yield "git config: the user's settings are the user's"
    if words[0] == "push" and ({"-f", "--force"} & set(words) or any(word.startswith("+") for word in words)):
        yield "git push: a forced push cancels the lease"


def _flat(arguments: list[ast.expr]) -> Iterator[ast.expr]:
    for one in arguments:
        if isinstance(one, ast.List | ast.Tuple):
            yield from _flat(one.elts)
        else:
            yield one


@pytest.mark.parametrize("path", sorted(CODE.rglob("*.py")), ids=lambda path: str(path.relative_to(CODE)))
def test_no_module_does_what_lost_data(path: Path) -> None:
    found = offences(path.read_text(encoding="utf-8"), may_merge=path == MERGES_BRANCHES)
    assert list(found) == []


@pytest.mark.parametrize(
    "line",
    [
        "repo.create_reference_direct(name, oid, False)",
        "repo.create_note('x', a, b)",
        "repo.references.delete(name)",
        "repo.references[name].delete()",
        "transaction.remove(name)",
        "remote.push(['refs/heads/main'])",
        "repo.merge_trees(a, b, c)",
        "git.run('merge-tree', a, b)",
        "git.run('gc', '--quiet')",
        "subprocess.run(['git', 'pack-refs', '--all'])",
        "git.run('notes', 'add')",
        "git.run('config', 'gc.auto', '0')",
        "git.run('config', '--add', 'remote.origin.fetch', '+refs/codestrator/*:refs/codestrator/*')",
        "git.run('push', '--force', 'origin', 'main')",
        "git.run('push', 'origin', '+main')",
        "pygit2.option(Option.SET_EXTENSIONS, ['reftable'])",
    ],
)
def test_the_search_finds_each_of_them(line: str) -> None:
    assert len(list(offences("import pygit2\n" + line))) >= 1


# a ref is taken by one writer only


@pytest.mark.parametrize("packed", [False, True])
def test_of_many_that_make_or_move_one_ref_exactly_one_wins(repo: Path, store: Store, packed: bool) -> None:
    head, state = git(repo, "rev-parse", "main"), git(repo, "rev-parse", STATE)
    stores = [store_of(repo) for _ in range(4)]
    for number in range(40):
        ref = f"refs/codestrator/race-{number}"
        if packed:
            git(repo, "update-ref", ref, state)
            git(repo, "pack-refs", "--all")
        wins: list[int] = []
        start = threading.Barrier(len(stores))

        def take(mine: Store, ref: str = ref, start: threading.Barrier = start, wins: list[int] = wins) -> None:
            start.wait()
            try:
                mine.refs.move([Move(ref, state if packed else None, head)])
                wins.append(1)
            except Contention:
                pass

        crowd = [threading.Thread(target=take, args=(one,)) for one in stores]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()
        assert len(wins) == 1
        assert git(repo, "rev-parse", ref) == head


def test_a_ref_is_never_deleted(repo: Path, store: Store) -> None:
    before = git(repo, "for-each-ref")
    with pytest.raises(ValueError, match="never deleted"):
        store.refs.move([Move(STATE, store.tips()[0], None)])
    assert git(repo, "for-each-ref") == before
    assert not list((repo / ".git" / "refs").rglob("*.lock"))


# notes


def test_no_note_line_of_two_processes_is_lost(repo: Path, store: Store) -> None:
    head = git(repo, "rev-parse", "main")
    source = (
        "from codestrator.store.notes import NoteBook\nbook = NoteBook(store_of(Path(sys.argv[1])))\n"
        "for number in range(20):\n    book.add(sys.argv[2], {'id': f'{sys.argv[3]}-{number}'})\n    book.flush()\n"
    )
    outcomes(list(together(3, source, str(repo), head)))
    lines = git(repo, "notes", "--ref=codestrator", "show", head).splitlines()
    assert len(lines) == len(set(lines)) == 60


# one book


def lease(number: int, path: str) -> Lease:
    now = rfc3339(Clock().now().at)
    return Lease(
        id=f"lock-{number:010d}",
        domain="paths",
        session_id="ses-0000000000",
        machine=MACHINE,
        fence=number,
        ttl_seconds=60,
        granted_at=now,
        renewed_at=now,
        beat=0,
        boot_id="boot",
        nonce="0",
        op="op-0000000000",
        scope_type="prefix",
        scope_path=path,
    )


def test_locks_are_documents_of_one_book_and_no_refs(repo: Path, store: Store) -> None:
    before = git(repo, "for-each-ref", "--format=%(refname)")
    put(store, lease(1, "src"), lease(2, "src/a"), lease(3, "docs"))
    assert git(repo, "for-each-ref", "--format=%(refname)") == before
    assert len(git(repo, "ls-tree", "-r", "--name-only", LOCKS, "paths").splitlines()) == 3


# the user's repository


def test_the_users_settings_work_and_refs_are_as_before(repo: Path, store: Store) -> None:
    dangling = git(repo, "hash-object", "-w", "--stdin", stdin=b"not committed anywhere")
    (repo / "staged").write_text("staged", encoding="utf-8")
    git(repo, "add", "staged")
    config = (repo / ".git" / "config").read_bytes()
    users, refs = loose(repo), git(repo, "for-each-ref", "refs/heads", "refs/tags", "refs/remotes")

    put(store, *[task(f"Task {number}") for number in range(300)])
    book = NoteBook(store)
    book.add(git(repo, "rev-parse", "main"), {"id": "cp-0000000000"})
    book.flush()
    store.maintain()

    assert (repo / ".git" / "config").read_bytes() == config
    assert git(repo, "for-each-ref", "refs/heads", "refs/tags", "refs/remotes") == refs
    assert git(repo, "cat-file", "-p", dangling) == "not committed anywhere"
    assert git(repo, "status", "--porcelain") == "A  staged"
    assert git(repo, "rev-parse", "main^{tree}") in loose(repo)
    assert dangling in loose(repo)
    assert users - loose(repo) <= set(git(repo, "rev-list", "--objects", "--no-object-names", STATE, LOCKS).split())


def test_fetch_with_prune_leaves_our_state(repo: Path, store: Store, tmp_path: Path) -> None:
    git(repo, "clone", "-q", "--bare", ".", str(tmp_path / "remote.git"))
    git(repo, "remote", "add", "origin", str(tmp_path / "remote.git"))
    put(store, task())
    before = store.tips()
    git(repo, "fetch", "-q", "--prune", "origin")
    git(repo, "fetch", "-q", "--prune", "--prune-tags", "origin")
    assert store.tips() == before


@pytest.mark.parametrize(("extension", "value"), [("objectFormat", "sha256"), ("refStorage", "reftable")])
def test_a_repository_of_another_format_is_refused_and_untouched(repo: Path, extension: str, value: str) -> None:
    git(repo, "config", "core.repositoryFormatVersion", "1")
    git(repo, "config", f"extensions.{extension}", value)
    before = sorted(str(one) for one in (repo / ".git").rglob("*"))
    with pytest.raises(Unsupported) as told:
        open_world(repo)
    assert value in told.value.message
    assert sorted(str(one) for one in (repo / ".git").rglob("*")) == before


def test_a_heartbeat_writes_no_object_and_moves_no_ref(repo: Path) -> None:
    world = open_world(repo)
    try:
        world.store.initialise()
        objects, refs = loose(repo), git(repo, "for-each-ref")
        assert world.live.take("ses-0000000000")
        for _ in range(3):
            world.live.renew("ses-0000000000", ttl_seconds=60)
        assert world.live.beat("ses-0000000000")
        assert (loose(repo), git(repo, "for-each-ref")) == (objects, refs)
    finally:
        world.close()


def test_our_objects_never_make_git_collect_garbage(repo: Path, store: Store) -> None:
    """`git gc --auto` goes by an estimate from one of 256 folders; well below its limit it does nothing."""
    one = task()
    put(store, one)
    for _ in range(400):
        raise_priority(store, one.id)
    store.close()
    assert len(loose(repo)) < 2_000
    folder = repo / ".git" / "objects" / "17"
    assert not folder.exists() or len(list(folder.iterdir())) < 27
