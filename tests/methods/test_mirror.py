"""One page of the state, written when asked for; never over somebody's work, never stale without saying so."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codestrator import ids, registry
from codestrator.errors import CodestratorError, External, Forbidden, InvalidParams, WrongState
from codestrator.methods import mirror, mirrored
from codestrator.records import Intent, Mirror, Task
from tests.actors import Actor, unchanged
from tests.conftest import git
from tests.methods import crew

ROLE = "doc-mirror-manager"
DEFAULT = ".codestrator/mirror/status.md"


def refresh(one: Actor, **given: Any) -> dict[str, Any]:
    return one("mirror.refresh", requester_role=ROLE, **given)


def page(one: Actor, path: str = DEFAULT) -> str:
    return (Path(one.world.repo) / path).read_text(encoding="utf-8")


def outdated(one: Actor) -> bool:
    return bool(one("mirror.status")["outdated"])


def section(one: Actor, title: str) -> list[str]:
    """The lines of one section of the page."""
    [found] = [part for part in page(one).split("\n## ") if part.startswith(f"{title}\n")]
    return [line for line in found.splitlines()[1:] if line]


def test_before_the_first_refresh_it_is_outdated_and_nowhere(root: Actor) -> None:
    found = root("mirror.status")
    assert found == {"db_version": root.world.store.read().db_version, "outdated": True}


def test_a_refresh_writes_the_whole_state_and_says_its_version(root: Actor, actor: Callable[..., Actor]) -> None:
    case_id = root.case("write it", "test it")
    child = crew.child(actor, root, title="Logs in")
    child("case.begin", case_id=case_id)
    lock = root("lock.acquire", scope_type="prefix", scope_path="src/login")["lock"]["id"]
    version = root("mirror.status")["db_version"]
    done = refresh(root)
    assert done["path"] == DEFAULT and done["outdated_before_refresh"] is True
    assert done["mirror_status"] == root("mirror.status")
    assert (done["mirror_status"]["md_version"], done["mirror_status"]["outdated"]) == (version, False)
    assert done["mirror_status"]["md_path"] == DEFAULT and done["mirror_status"]["updated_at"]
    assert page(root).startswith(mirrored.head(version)) and f"Version {version}," in page(root)
    assert any(root.session in line and "Fix the login timeout" in line for line in section(root, "Sessions"))
    assert any(root.worktree in line and "session_root" in line for line in section(root, "Worktrees"))
    assert any(child.thread in line and case_id in line and "Logs in" in line for line in section(root, "Threads"))
    assert any(lock in line and "src/login" in line and root.thread in line for line in section(root, "Locks"))
    tree = section(root, "Tasks")
    assert [line.index("-") for line in tree] == [0, 2, 4]
    assert tree[0].startswith("- **in_progress** Shop (epic, epic-")
    assert tree[2].strip() == f"- **in_progress** Refresh (case, {case_id}, 0 of 2 steps, by {child.thread})"


def test_what_is_over_is_left_out_and_what_is_empty_says_so(root: Actor, other: Actor) -> None:
    other("lock.acquire", scope_type="file", scope_path="a.py")
    other("session.close")
    refresh(root)
    assert not any(other.session in line for name in ("Sessions", "Threads") for line in section(root, name))
    assert section(root, "Locks") == section(root, "Tasks") == ["None."]


def test_the_tree_is_in_order_whatever_was_touched_last(root: Actor) -> None:
    for title, priority in (("b", 0), ("a", 0), ("z", 5)):
        crew.make(root, "epic", title, priority=priority)
    refresh(root)
    first = section(root, "Tasks")
    assert [line.split("** ")[1].split(" ")[0] for line in first] == ["z", "a", "b"]
    b = first[2].split("epic, ")[1].rstrip(")")
    root("task.update", task_id=b, description="said later")
    assert not outdated(root)  # the page does not show descriptions


def test_again_without_a_change_leaves_the_same_bytes_and_publishes_nothing(root: Actor, operator: Actor) -> None:
    refresh(root)
    place = Path(root.world.repo) / DEFAULT
    before, written = place.read_bytes(), place.stat()
    for one in (root, operator):
        with unchanged(root):
            done = refresh(one)
        assert done["outdated_before_refresh"] is False and done["mirror_status"]["outdated"] is False
    assert place.read_bytes() == before
    assert (place.stat().st_ino, place.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


def test_a_change_makes_it_outdated_until_it_is_refreshed(root: Actor) -> None:
    refresh(root)
    root("task.create", level="epic", title="Invoices")
    assert outdated(root)
    assert refresh(root)["outdated_before_refresh"] is True
    assert not outdated(root) and "Invoices" in page(root)
    root("lock.acquire", scope_type="file", scope_path="a.py")  # of the lock book alone
    assert outdated(root)


def test_neither_renewals_nor_the_time_make_it_outdated(
    root: Actor, other: Actor, actor: Callable[..., Actor], clock: Any
) -> None:
    case_id = root.case("one")
    child = crew.child(actor, root)
    child("case.begin", case_id=case_id)
    lock = root("lock.acquire", scope_type="file", scope_path="a.py")["lock"]["id"]
    refresh(root)
    other.close()  # its session will be suspended
    for _ in range(3):
        clock.advance(100)
        root("session.heartbeat")
        root("lock.heartbeat", lock_id=lock, ttl_seconds=900)
        child("thread.child.report", progress="half way")
        assert not outdated(root)
    clock.advance(40_000)  # all leases are past their time
    assert not outdated(root)


def test_what_it_shows_not_of_a_document_does_not_make_it_outdated(root: Actor) -> None:
    refresh(root)
    version = root("mirror.status")["db_version"]
    root("inbox.send", receiver_thread_id=crew.record(root).id, message="x")
    refresh(root)
    root("work.checkpoint", summary="half", snapshot=False)
    found = root("mirror.status")
    assert found["db_version"] > version and not found["outdated"]


@pytest.mark.parametrize("damage", ["removed", "edited", "a link"])
def test_a_page_that_is_not_as_written_is_outdated_and_put_back_with_its_bytes(root: Actor, damage: str) -> None:
    version = refresh(root)["mirror_status"]["md_version"]
    place = Path(root.world.repo) / DEFAULT
    before = place.read_bytes()
    place.unlink()
    if damage == "edited":
        place.write_bytes(before + b"a line of mine\n")
    if damage == "a link":
        place.symlink_to(Path(root.world.repo) / "README.md")
    assert outdated(root)
    if damage == "a link":
        with unchanged(root), pytest.raises(InvalidParams, match="a symbolic link"):
            refresh(root)
        place.unlink()
    assert refresh(root)["mirror_status"]["md_version"] == version
    assert place.read_bytes() == before and not place.is_symlink()


HOSTILE = [
    "# Heading\n\n## Locks\n\n- **done** all",
    "a | b \\| c\\",
    "<script>alert(1)</script><!-- --> </details>",
    "```\n~~~",
    "[x](javascript:alert(1)) ![y](http://example.org/z)",
    "**bold** _it_ `code` $x$ &lt; ",
    "\x1b[31mred\x1b[0m\x00\u202egnp.exe\u2028next\u0085more",
    "\ud800",
    "",
    "x" * 1_000_000,
]


@pytest.mark.parametrize("title", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_words_do_not_break_the_page(root: Actor, title: str) -> None:
    crew.put(root, _task(root, "plain"))
    thread = crew.record(root, title="plain")
    refresh(root)
    before = page(root)
    if "\ud800" in title:  # cannot be written as JSON at all; the page is asked directly
        assert mirrored.escaped(title) == "-"
        return
    crew.put(root, _task(root, title))
    crew.put(root, thread.but(title=title))
    assert outdated(root)
    refresh(root)
    after = page(root)
    assert [line for line in after.split("\n") if line.startswith("#")] == [
        line for line in before.split("\n") if line.startswith("#")
    ]
    assert len(after.split("\n")) == len(before.split("\n")) and len(after) < len(before) + 4_000
    assert {bars(line) for line in section(root, "Threads")} == {8}
    words = "\n".join(section(root, "Tasks") + section(root, "Threads"))
    assert "<" not in words and not any(ord(one) < 32 and one != "\n" for one in words)
    assert not set(words) & {"\u202e", "\u2028", "\x85", "\x1b"}
    assert "_it_" not in words
    bare = words.replace("\\\\", "")  # what is left has each mark behind a backslash of its own
    assert all(bare.count(one) == bare.count(f"\\{one}") for one in "`[]$~")


def bars(line: str) -> int:
    """The bars of a row that end a cell."""
    return line.replace("\\\\", "").replace("\\|", "").count("|")


def _task(root: Actor, title: str) -> Task:
    return Task(
        id="epic-0000000001",
        level="epic",
        title=title,
        priority=0,
        created_by=root.thread,
        session_id=root.session,
        status="todo",
    )


def test_a_child_of_the_role_may_and_others_may_not(root: Actor, actor: Callable[..., Actor]) -> None:
    one, worker = crew.child(actor, root, role=ROLE), crew.child(actor, root)
    with unchanged(root), pytest.raises(Forbidden, match=r"role 'worker' of .* may not call mirror\.refresh"):
        refresh(worker)
    with unchanged(root), pytest.raises(Forbidden):
        worker("mirror.status")
    assert one("mirror.status")["outdated"] is True
    assert refresh(one)["mirror_status"]["outdated"] is False
    newest = root("journal.list", limit=1)["items"][0]
    assert (newest["actor"], newest["method"]) == (one.thread, "mirror.refresh")


@pytest.mark.parametrize("stated", ["worker", "session-root", "root", "Doc-Mirror-Manager"])
def test_a_stated_role_must_be_the_one_that_may(stated: str, root: Actor, actor: Callable[..., Actor]) -> None:
    for one in (root, crew.child(actor, root, role=ROLE)):
        with unchanged(root), pytest.raises(Forbidden, match=f"'requester_role' is '{stated}'"):
            one("mirror.refresh", requester_role=stated)
    with unchanged(root), pytest.raises(InvalidParams):
        root("mirror.refresh")


BAD = [
    *("README.md", "docs", ".codestrator", "src/status.md", "../docs/x.md", "docs/../README.md", "/etc/x.md"),
    *(".git/x.md", "docs/.gitignore", "docs/.gitattributes", "docs/sub/.git/x.md", ".codestrator/mirror/.gitignore"),
    *(".codestrator/worktrees/x.md", ".codestrator/worktrees/.gitignore", "docsx/a.md", "docs/link/x.md"),
    *("docs/link.md", "docs/folder", "docs/file/x.md", "docs/other/x.md", "-x", "docs/a\x00b.md", "docs/a\nb.md"),
]


@pytest.mark.parametrize("path", BAD)
def test_a_bad_place_is_refused_and_nothing_is_changed(path: str, root: Actor, tmp_path: Path) -> None:
    docs = Path(root.world.repo) / "docs"
    (docs / "folder").mkdir(parents=True)
    (docs / "file").write_text("x", encoding="utf-8")
    (docs / "link").symlink_to(tmp_path)
    (docs / "link.md").symlink_to(tmp_path / "outside.md")
    git("init", "-q", "other", at=docs)
    there = sorted(tmp_path.iterdir())
    with unchanged(root), pytest.raises(InvalidParams) as refused:
        refresh(root, target_path=path)
    assert refused.value.details["field"] == "target_path" and refused.value.hint
    assert sorted(tmp_path.iterdir()) == there and outdated(root)


def test_a_page_in_a_sessions_worktree_is_refused(root: Actor) -> None:
    inside = root.path.relative_to(root.world.repo) / "docs" / "x.md"
    with unchanged(root), pytest.raises(InvalidParams, match="in the folder of worktrees"):
        refresh(root, target_path=str(inside))
    git("worktree", "add", "-q", "--detach", "docs/trees", at=Path(root.world.repo))
    with unchanged(root), pytest.raises(InvalidParams, match="in another worktree"):
        refresh(root, target_path="docs/trees/x.md")


def test_a_tracked_file_is_replaced_only_without_changes(root: Actor) -> None:
    repo = Path(root.world.repo)
    (repo / "docs").mkdir()
    mine = repo / "docs" / "state[1].md"
    mine.write_text("mine\n", encoding="utf-8")
    git("add", ".", at=repo)
    git("commit", "-qm", "docs", at=repo)
    mine.write_text("changed\n", encoding="utf-8")
    for staged in (False, True):
        if staged:
            git("add", ".", at=repo)
        with unchanged(root), pytest.raises(WrongState, match="is tracked and has changes"):
            refresh(root, target_path="docs/state[1].md")
        assert mine.read_text(encoding="utf-8") == "changed\n"
    git("commit", "-qm", "changed", at=repo)
    refresh(root, target_path="docs/state[1].md")
    assert git("status", "--porcelain", at=repo) == " M docs/state[1].md"
    with unchanged(root):  # asked again without news it needs to write nothing
        refresh(root)
    root("task.create", level="epic", title="x")
    with unchanged(root), pytest.raises(WrongState):
        refresh(root)
    git("commit", "-qam", "status", at=repo)
    assert refresh(root)["path"] == "docs/state[1].md"


def test_a_file_that_git_does_not_know_is_kept(root: Actor) -> None:
    repo = Path(root.world.repo)
    (repo / "docs").mkdir()
    (repo / "docs" / "notes.md").write_text("not saved anywhere else\n", encoding="utf-8")
    with unchanged(root), pytest.raises(WrongState, match="somebody's file"):
        refresh(root, target_path="docs/notes.md")
    assert page(root, "docs/notes.md") == "not saved anywhere else\n"


def test_a_page_under_docs_is_the_users_and_the_next_refresh_goes_there_again(root: Actor) -> None:
    repo = Path(root.world.repo)
    refresh(root)
    done = refresh(root, target_path=str(repo / "docs" / "a" / "status.md"))
    assert done["path"] == done["mirror_status"]["md_path"] == "docs/a/status.md"
    assert done["outdated_before_refresh"] is False
    assert page(root, "docs/a/status.md") == page(root)
    assert git("status", "--porcelain", "--untracked-files=all", at=repo) == "?? docs/a/status.md"
    root("task.create", level="epic", title="Invoices")
    assert refresh(root)["path"] == "docs/a/status.md" and "Invoices" in page(root, "docs/a/status.md")


@pytest.mark.parametrize("path", [DEFAULT, ".codestrator/status.md", ".codestrator/deep/er/status.md"])
def test_a_page_of_our_own_is_not_seen_by_git(repo: Path, operator: Actor, path: str) -> None:
    refresh(operator, target_path=path)
    assert git("status", "--porcelain", "--untracked-files=all", at=repo) == ""
    assert not [one for one in (repo / path).parent.iterdir() if one.name.startswith(f".{Path(path).name}")]


def test_an_ignore_file_is_not_written_through_a_link(root: Actor, tmp_path: Path) -> None:
    folder = Path(root.world.repo) / ".codestrator" / "mirror"
    folder.mkdir()
    (folder / ".gitignore").symlink_to(tmp_path / "outside")
    refresh(root)
    assert not (tmp_path / "outside").exists() and not outdated(root)


def test_a_page_that_cannot_be_written_leaves_the_old_one_and_says_so(
    root: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh(root)
    before, known = page(root), root("mirror.status")
    root("task.create", level="epic", title="x")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as here:
        here.setattr(Path, "replace", full)
        with pytest.raises(External, match="No space left"):
            refresh(root)
    assert page(root) == before
    found = root("mirror.status")
    assert found["outdated"] and found["md_version"] == known["md_version"]
    assert sorted(one.name for one in (Path(root.world.repo) / DEFAULT).parent.iterdir()) == [".gitignore", "status.md"]
    assert [one.state for one in intents_of(root)][-1] == "failed"
    refresh(root)
    assert not outdated(root)


def intents_of(one: Actor) -> list[Intent]:
    found = (intent for intent in one.world.store.read().all(Intent) if intent.method == "mirror.refresh")
    return sorted(found, key=lambda intent: intent.created_at)


@pytest.mark.parametrize("written", [True, False])
def test_what_a_dead_process_began_is_settled(root: Actor, written: bool) -> None:
    done = refresh(root)["mirror_status"]
    known = root.world.store.read().require(Mirror, "mirror")
    root("task.create", level="epic", title="x")
    if written:
        (Path(root.world.repo) / DEFAULT).write_bytes(b"")
        refresh(root)
    newer = root.world.store.read().require(Mirror, "mirror")
    crew.put(root, known)  # as if the record of the second page had not been published any more
    about = {"action": "write_mirror", "md_path": DEFAULT, "md_version": newer.md_version, "digest": newer.digest}
    if not written:
        about["digest"] = "0" * 64
    machine = root.world.settings.machine
    crew.put(
        root,
        Intent(
            id=ids.mint("op"), method="mirror.refresh", machine=machine, params_digest="", state="planned",
            pid=2**22 + 1, process_started_at="1", args=about,
        ),
    )  # fmt: skip
    registry.recover(root.world)
    assert [one.state for one in intents_of(root) if one.process_started_at == "1"] == [
        "done" if written else "reversed"
    ]
    assert outdated(root) is not written
    assert (root("mirror.status")["md_version"] == done["md_version"]) is not written


def test_refreshes_at_once_end_with_the_newest(root: Actor, actor: Callable[..., Actor]) -> None:
    found: list[object] = []

    def work(one: Actor, title: str) -> None:
        try:
            one("task.create", level="epic", title=title, session_id=root.session)
            found.append(refresh(one)["path"])
        except CodestratorError as error:
            found.append(error)

    crowd = [threading.Thread(target=work, args=(actor("operator"), f"t{n}")) for n in range(4)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert found == [DEFAULT] * 4
    assert not outdated(root) and all(f" t{n} " in page(root) for n in range(4))


def test_another_process_that_refreshes_is_waited_for_only_so_long(
    root: Actor, other: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert other.world.live.take(mirror.LOCK)
    monkeypatch.setattr(mirror, "WAIT_SECONDS", 0.05)
    with unchanged(root), pytest.raises(CodestratorError, match="another refresh") as refused:
        refresh(root)
    assert refused.value.code == "busy"
    other.world.live.leave(mirror.LOCK)
    refresh(root)


@pytest.mark.parametrize("path", ["../../etc/passwd", "docs/pipe", "/dev/zero", "docs/link.md"])
def test_a_path_that_came_with_the_state_is_not_trusted(root: Actor, path: str, tmp_path: Path) -> None:
    docs = Path(root.world.repo) / "docs"
    docs.mkdir()
    os.mkfifo(docs / "pipe")
    (docs / "link.md").symlink_to(tmp_path)
    crew.put(root, Mirror(id="mirror", md_version=1, md_path=path, digest="0"))
    assert outdated(root)
    with unchanged(root), pytest.raises(InvalidParams):
        refresh(root)
    assert refresh(root, target_path=DEFAULT)["path"] == DEFAULT


def test_an_undo_leaves_what_was_recorded_of_the_page(root: Actor) -> None:
    root("task.create", level="epic", title="x")
    refresh(root)
    known = root.world.store.read().require(Mirror, "mirror")
    root("journal.undo")  # of the task: what was announced and recorded of the page is no operation to take back
    assert root("task.list")["count"] == 0
    assert root.world.store.read().require(Mirror, "mirror") == known
    assert outdated(root)


def test_a_key_gives_the_first_answer_again(root: Actor) -> None:
    first = refresh(root, idempotency_key="1")
    root("task.create", level="epic", title="x")
    assert refresh(root, idempotency_key="1") == first | {"repeated": True}
    assert outdated(root)


def test_a_bare_repository_has_no_place_for_a_page(repo: Path, tmp_path: Path, actor: Callable[..., Actor]) -> None:
    git("clone", "-q", "--bare", str(repo), "bare.git", at=tmp_path)
    one = actor(folder=tmp_path / "bare.git")
    one("workspace.init")
    assert outdated(one)
    tips = one.world.store.tips()
    with pytest.raises(WrongState, match="is bare"):
        refresh(one)
    assert one.world.store.tips() == tips
