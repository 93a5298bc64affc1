"""Note lines on the user's commits: read by git, written beside git, none lost and none twice."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codestrator.errors import Busy, External, UnreadableState
from codestrator.store.notes import NOTES, NoteBook
from codestrator.store.store import Store
from tests.conftest import git
from tests.store.kit import store_of

PROGRAM = """
import os
import signal
import sys
from pathlib import Path
from codestrator.clock import Clock
from codestrator.records import KINDS
from codestrator.store.notes import NoteBook
from codestrator.store.store import Store
from tests.store.kit import program

store = Store(Path(sys.argv[1]), KINDS, Clock(), lambda: program(Path(sys.argv[1])), machine="aaaaaaaaaa")
notes = NoteBook(store)
who, commits = sys.argv[2], sys.argv[3].split(",")
"""
RACE = (
    PROGRAM
    + """
sys.stdin.readline()
for number in range(40):
    notes.add(commits[number % len(commits)], {"cp": f"cp-{who}-{number}"})
    if number % 4 == 3:
        notes.flush()
notes.close()
"""
)
KILLED = (
    PROGRAM
    + """
notes.add(commits[0], {"cp": "written"})
notes.flush()
notes.add(commits[0], {"cp": "waiting"})
os.kill(os.getpid(), signal.SIGKILL)
"""
)


@pytest.fixture
def notes(store: Store) -> Iterator[NoteBook]:
    one = NoteBook(store)
    yield one
    one.close()


@pytest.fixture
def commits(repo: Path) -> list[str]:
    for number in range(3):
        git("commit", "-q", "--allow-empty", "-m", f"work {number}", at=repo)
    return git("rev-list", "HEAD", at=repo).splitlines()


def shown(repo: Path, commit: str) -> list[Any]:
    """The lines that git shows of a commit's note."""
    text = git("notes", "--ref=codestrator", "show", commit, at=repo)
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def program(source: str, repo: Path, who: str, commits: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", source, str(repo / ".git"), who, ",".join(commits)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )


def test_git_shows_what_was_added(repo: Path, notes: NoteBook, commits: list[str]) -> None:
    notes.add(commits[0], {"event": "step.check", "cp": "cp-1", "title": "größer\nals"})
    notes.add(commits[0], {"cp": "cp-2"})
    notes.add(commits[1], {"cp": "cp-3"})
    notes.flush()
    text = git("notes", "--ref=codestrator", "show", commits[0], at=repo)
    assert text == '{"cp":"cp-1","event":"step.check","title":"größer\\nals"}\n{"cp":"cp-2"}'
    assert '{"cp":"cp-3"}' in git("log", "--notes=codestrator", "-1", commits[1], at=repo)
    assert git("fsck", "--strict", at=repo) == ""


def test_lines_are_written_without_being_asked_for(repo: Path, notes: NoteBook, commits: list[str]) -> None:
    notes.add(commits[0], {"cp": "cp-1"})
    for thread in threading.enumerate():
        if thread.name == "codestrator-notes":
            thread.join(timeout=10)
    assert shown(repo, commits[0]) == [{"cp": "cp-1"}]


def test_lines_that_wait_are_one_commit(repo: Path, notes: NoteBook, commits: list[str]) -> None:
    for number in range(20):
        notes.add(commits[number % 3], {"cp": f"cp-{number}"})
    notes.flush()
    assert git("rev-list", "--count", NOTES, at=repo) == "1"


def test_adding_twice_is_adding_once(repo: Path, notes: NoteBook, store: Store, commits: list[str]) -> None:
    for book in (notes, notes, NoteBook(store)):
        book.add(commits[0], {"cp": "cp-1"})
        book.flush()
    assert shown(repo, commits[0]) == [{"cp": "cp-1"}]
    assert git("rev-list", "--count", NOTES, at=repo) == "1"


def test_closing_writes_what_waits(repo: Path, notes: NoteBook, commits: list[str]) -> None:
    notes.add(commits[0], {"cp": "cp-1"})
    notes.close()
    assert shown(repo, commits[0]) == [{"cp": "cp-1"}]


def test_what_the_user_writes_into_a_note_stays(repo: Path, notes: NoteBook, commits: list[str]) -> None:
    (repo / "mine.txt").write_bytes(b"mine\r\nand more")
    blob = git("hash-object", "-w", "mine.txt", at=repo)
    git("notes", "--ref=codestrator", "add", "-C", blob, commits[0], at=repo)
    notes.add(commits[0], {"cp": "cp-1"})
    notes.flush()
    git("notes", "--ref=codestrator", "append", "-m", "mine again", commits[0], at=repo)
    before = subprocess.run(["git", "show", f"{NOTES}:{commits[0]}"], cwd=repo, capture_output=True, check=True).stdout
    notes.add(commits[0], {"cp": "cp-1"})
    notes.add(commits[0], {"cp": "cp-2"})
    notes.flush()
    name = git("ls-tree", "-r", "--name-only", NOTES, at=repo)
    after = subprocess.run(["git", "show", f"{NOTES}:{name}"], cwd=repo, capture_output=True, check=True).stdout
    assert after == before + b'{"cp":"cp-2"}\n'
    assert b"mine\r\nand more" in after
    assert b"mine again" in after


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**64), st.integers(1, 700), st.integers(0, 2))
def test_notes_lie_where_git_finds_them_however_many_there_are(
    store: Store, seed: int, count: int, user_writes: int
) -> None:
    """git cuts paths deeper the more notes there are; ids are made up, since git asks for no object behind one."""
    repo = store.common_dir.parent
    git("update-ref", "-d", NOTES, at=repo)
    head = git("rev-parse", "HEAD", at=repo)
    notes = NoteBook(store)
    wanted = {f"{seed:016x}{number * 2654435761 % 2**32:08x}"[::-1].ljust(40, "0") for number in range(count)}
    ordered = sorted(wanted)
    for part in (ordered[::2], ordered[1::2], ordered):
        for commit in part:
            notes.add(commit, {"cp": commit})
        notes.flush()
        for number in range(user_writes):
            git("notes", "--ref=codestrator", "add", "-f", "-m", f"user {number}", head, at=repo)
    listed = [line.split()[1] for line in git("notes", "--ref=codestrator", "list", at=repo).splitlines()]
    assert sorted(listed) == sorted(wanted | ({head} if user_writes else set()))
    some = git("cat-file", "blob", git("notes", "--ref=codestrator", "list", ordered[0], at=repo), at=repo)
    assert some == f'{{"cp":"{ordered[0]}"}}'
    notes.close()


def test_a_file_of_the_user_where_a_folder_would_be_is_left_alone(
    repo: Path, notes: NoteBook, commits: list[str]
) -> None:
    blob = git("hash-object", "-w", "README.md", at=repo)
    made = subprocess.run(
        ["git", "mktree"], input=f"100644 blob {blob}\t{commits[0][:2]}\n", cwd=repo, text=True, capture_output=True
    )
    tree = made.stdout.strip()
    git("update-ref", NOTES, git("commit-tree", "-m", "mine", tree, at=repo), at=repo)
    notes.add(commits[0], {"cp": "cp-1"})
    notes.flush()
    assert shown(repo, commits[0]) == [{"cp": "cp-1"}]
    assert blob in git("ls-tree", NOTES, at=repo)


def run_race(repo: Path, commits: list[str], beside: Callable[[], None]) -> list[tuple[str, str]]:
    """Four processes add 40 lines each, while something else goes on; what they added."""
    racers = [program(RACE, repo, f"p{number}", commits) for number in range(4)]
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    beside()
    for racer in racers:
        racer.communicate(timeout=60)
        assert racer.returncode == 0
    return [(commits[n % len(commits)], f"cp-p{racer}-{n}") for racer in range(4) for n in range(40)]


def all_shown(repo: Path, commits: list[str]) -> list[tuple[str, str]]:
    return [(commit, line["cp"]) for commit in commits for line in shown(repo, commit)]


def test_four_processes_lose_no_line(repo: Path, commits: list[str]) -> None:
    added = run_race(repo, commits, lambda: None)
    assert sorted(all_shown(repo, commits)) == sorted(added)
    assert git("fsck", "--strict", "--no-dangling", at=repo) == ""


def test_what_git_drops_by_racing_us_is_completed(repo: Path, notes: NoteBook, commits: list[str]) -> None:
    extra = git("commit-tree", "-m", "elsewhere", f"{commits[0]}^{{tree}}", at=repo)
    notes.complete([], "1" * 40)

    def beside() -> None:
        for number in range(8):  # it takes no gate, so it may fail, and it may drop our lines
            command = ["git", "notes", "--ref=codestrator", "add", "-f", "-m", f"{number}", extra]
            subprocess.run(command, cwd=repo, capture_output=True, check=False)

    added = run_race(repo, commits, beside)
    git("notes", "--ref=codestrator", "add", "-f", "-m", "the last one", extra, at=repo)
    assert notes.upto() is None
    notes.complete([(commit, {"cp": name}) for commit, name in added], "2" * 40)
    assert sorted(all_shown(repo, commits)) == sorted(added)
    assert git("notes", "--ref=codestrator", "show", extra, at=repo) == "the last one"
    assert notes.upto() == "2" * 40


def test_lines_that_a_killed_process_owed_are_completed(repo: Path, store: Store, commits: list[str]) -> None:
    killed = program(KILLED, repo, "p", commits)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert shown(repo, commits[0]) == [{"cp": "written"}]
    notes = NoteBook(store)
    assert notes.upto() is None
    tip = store.tips()[0]
    assert tip is not None
    notes.complete([(commits[0], {"cp": "written"}), (commits[0], {"cp": "waiting"})], tip)
    assert shown(repo, commits[0]) == [{"cp": "written"}, {"cp": "waiting"}]
    assert notes.upto() == tip
    assert f"Upto: {tip}" in git("log", "-1", "--format=%B", NOTES, at=repo)


def test_completing_what_is_complete_writes_nothing(repo: Path, notes: NoteBook, commits: list[str]) -> None:
    notes.complete([(commits[0], {"cp": "cp-1"})], "1" * 40)
    before = git("rev-parse", NOTES, at=repo)
    notes.complete([(commits[0], {"cp": "cp-1"})], "1" * 40)
    assert git("rev-parse", NOTES, at=repo) == before


def test_the_mark_outlives_later_lines_but_not_a_writer_who_compares_nothing(
    repo: Path, notes: NoteBook, commits: list[str]
) -> None:
    notes.complete([], "1" * 40)
    notes.add(commits[0], {"cp": "cp-1"})
    notes.flush()
    assert notes.upto() == "1" * 40
    git("notes", "--ref=codestrator", "append", "-m", "mine", commits[0], at=repo)
    notes.add(commits[1], {"cp": "cp-2"})
    notes.flush()
    assert notes.upto() is None


def test_nothing_is_known_of_a_repository_without_notes(notes: NoteBook) -> None:
    assert notes.upto() is None


def test_a_lock_file_that_a_killed_writer_left_is_put_aside(repo: Path, notes: NoteBook, commits: list[str]) -> None:
    lock = repo / ".git" / f"{NOTES}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    os.utime(lock, (1_000_000_000, 1_000_000_000))
    notes.add(commits[0], {"cp": "cp-1"})
    notes.flush()
    assert shown(repo, commits[0]) == [{"cp": "cp-1"}]
    assert not lock.exists()


def test_lines_wait_on_while_another_program_has_the_ref(repo: Path, store: Store, commits: list[str]) -> None:
    notes = NoteBook(store, patience_seconds=0.05)
    lock = repo / ".git" / f"{NOTES}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    notes.add(commits[0], {"cp": "cp-1"})
    with pytest.raises(Busy):
        notes.flush()
    notes.add(commits[0], {"cp": "cp-2"})
    lock.unlink()
    notes.flush()
    assert shown(repo, commits[0]) == [{"cp": "cp-1"}, {"cp": "cp-2"}]
    notes.close()


def _point_at_a_blob(repo: Path) -> None:
    ref = repo / ".git" / NOTES
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(git("hash-object", "-w", "README.md", at=repo) + "\n", encoding="utf-8")


def _lose_the_tree(repo: Path) -> None:
    tree = git("rev-parse", f"{NOTES}^{{tree}}", at=repo)
    (repo / ".git" / "objects" / tree[:2] / tree[2:]).unlink()


def _lose_the_note(repo: Path) -> None:
    note = git("ls-tree", "-r", "--object-only", NOTES, at=repo)
    (repo / ".git" / "objects" / note[:2] / note[2:]).unlink()


@pytest.mark.parametrize("damage", [_point_at_a_blob, _lose_the_tree, _lose_the_note])
def test_damaged_notes_are_told_and_what_waits_goes_on_waiting(
    repo: Path, store: Store, commits: list[str], damage: Callable[[Path], None]
) -> None:
    writer = NoteBook(store)
    writer.add(commits[0], {"cp": "cp-0"})
    writer.flush()
    damage(repo)
    fresh = store_of(repo)  # it has nothing of the old notes in memory
    notes = NoteBook(fresh)
    notes.add(commits[0], {"cp": "cp-1"})
    with pytest.raises(UnreadableState) as refused:
        notes.flush()
    assert refused.value.details["ref"] == NOTES
    git("update-ref", "-d", NOTES, at=repo)
    notes.close()
    assert shown(repo, commits[0]) == [{"cp": "cp-1"}]
    fresh.close()


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow, not even root's."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_lines_wait_on_while_the_disk_is_full(repo: Path, store: Store, commits: list[str]) -> None:
    notes = NoteBook(store)
    with full_disk(), pytest.raises(External):
        notes.add(commits[0], {"cp": "cp-1"})
        notes.flush()
    notes.flush()
    assert shown(repo, commits[0]) == [{"cp": "cp-1"}]
