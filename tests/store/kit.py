"""What the tests of the store share: a store on a repository, small documents, and processes that die on purpose."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import msgspec
import pygit2

from codestrator.clock import Clock
from codestrator.ids import mint
from codestrator.records import KINDS, Task
from codestrator.store.documents import Layout
from codestrator.store.store import Store
from codestrator.store.transaction import Stamp, Transaction
from codestrator.world.git import GitProgram
from tests.conftest import ended

MACHINE = "0123456789"
FORK_SECONDS = 25.0
STATE, LOCKS = "refs/codestrator/state", "refs/codestrator/locks"
OUTSIDE = ("_pygit2", "pygit2", "posix", "fcntl", "_io")
PYGIT2 = str(Path(pygit2.__file__).parent)
SOURCE = str(Path(__file__).parents[2] / "codestrator" / "store")


def store_of(repo: Path, clock: Clock | None = None, **given: Any) -> Store:
    return Store(repo / ".git", KINDS, clock or Clock(), lambda: program(repo), machine=MACHINE, **given)


@contextmanager
def opened(repo: Path) -> Iterator[Store]:
    """A store that is closed afterwards, so that nothing of it goes on in the background."""
    store = store_of(repo)
    try:
        yield store
    finally:
        store.close()


def program(repo: Path) -> GitProgram:
    return GitProgram(repo, lambda key: None)


def stamp(subject: str = "test.act", op: str = "") -> Stamp:
    return Stamp(subject, op or mint("op"), "root:ses-0000000000", None, None, MACHINE)


def task(title: str = "Login", *, id: str = "", **fields: Any) -> Task:
    plain: dict[str, Any] = {
        "level": "epic",
        "priority": 0,
        "created_by": "thr-0000000000",
        "session_id": "ses-0000000000",
        "status": "todo",
    }
    return Task(id=id or mint("epic"), title=title, **plain | fields)


def put(store: Store, *documents: Any, op: str = "") -> None:
    def act(tx: Transaction) -> None:
        for one in documents:
            tx.put(one)

    store.transact(act, stamp=stamp(op=op))


def raise_priority(store: Store, task_id: str) -> None:
    """One mutation that depends on what was there: a lost one shows."""

    def act(tx: Transaction) -> None:
        found = tx.require(Task, task_id)
        tx.put(found.but(priority=found.priority + 1))

    store.transact(act, stamp=stamp(f"task.update {task_id}"))


def git(repo: Path, *arguments: str, stdin: bytes | None = None) -> str:
    done = subprocess.run(["git", *arguments], cwd=repo, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr.decode()}"
    return done.stdout.decode().rstrip("\n")


def path_of(document_id: str) -> str:
    place = Layout(STATE, {}).place(document_id)
    return "/".join((*place.folders, f"{place.stem}.json"))


def raw_of(repo: Path, document_id: str) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(git(repo, "show", f"{STATE}:{path_of(document_id)}"))
    return found


def refs(repo: Path) -> str:
    return git(repo, "for-each-ref")


def loose(repo: Path) -> set[str]:
    """The ids of all loose objects."""
    return {
        folder.name + one.name
        for folder in (repo / ".git" / "objects").iterdir()
        if len(folder.name) == 2
        for one in folder.iterdir()
    }


def plant(repo: Path, ref: str, path: str, content: bytes | None) -> str:
    """Put a file into the tree of a ref as nobody but a broken program would; None takes it out. The new commit."""
    environment = {"GIT_INDEX_FILE": str(repo / ".git" / "planted")}

    def run(*arguments: str, stdin: bytes = b"") -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=repo, input=stdin, capture_output=True, check=True, env=os.environ | environment
        )
        return done.stdout.decode().strip()

    run("read-tree", ref)
    if content is None:
        run("update-index", "--force-remove", path)
    else:
        blob = run("hash-object", "-w", "--stdin", stdin=content)
        run("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
    date = git(repo, "log", "-1", "--format=%ct", ref)
    environment["GIT_COMMITTER_DATE"] = f"@{int(date) + 1} +0000"
    commit = run("commit-tree", run("write-tree"), "-p", ref, "-m", "planted")
    git(repo, "update-ref", ref, commit)
    (repo / ".git" / "planted").unlink()
    return commit


def die_in(act: Callable[[], object], arm: Callable[[Callable[[], None]], object], step: int) -> bool:
    """Run `act` in a forked child that kills itself with SIGKILL at the step-th tick; whether it was killed.

    `arm` is given the tick and has it called at whatever counts as a step.
    """
    # Only the thread that forks goes on in the child: a lock that another one holds would never be given back.
    for one in threading.enumerate():
        if one.name == "codestrator-upkeep":
            one.join(FORK_SECONDS)
            assert not one.is_alive()
    child = os.fork()
    if child == 0:
        _to_its_death(act, arm, step)
    if hasattr(os, "pidfd_open") and not ended(child, FORK_SECONDS):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise AssertionError(f"the child did not end within {FORK_SECONDS} s")
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed before it was killed"
    return os.WIFSIGNALED(status)


def _to_its_death(act: Callable[[], object], arm: Callable[[Callable[[], None]], object], left: int) -> NoReturn:
    def tick() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    status = 1
    try:
        arm(tick)
        act()
        status = 0
    finally:
        os._exit(status)


def at_every_call(tick: Callable[[], None]) -> None:
    """Tick before and after each call of the store to libgit2 or the system."""

    def profile(frame: FrameType, event: str, called: object) -> None:
        file = frame.f_code.co_filename
        if (file.startswith(PYGIT2) and event in ("call", "return")) or (
            file.startswith(SOURCE) and event in ("c_call", "c_return") and _owner(called) in OUTSIDE
        ):
            tick()

    sys.setprofile(profile)


def _owner(called: object) -> str:
    """The module of a built-in function, or of what it is a method of."""
    owner = getattr(called, "__self__", None)
    return str(getattr(owner, "__name__", None) or type(owner).__module__).split(".")[0]


def at_every_file(tick: Callable[[], None]) -> None:
    """Tick before Python opens, renames, makes or removes a file or folder."""

    def hook(event: str, _: object) -> None:
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.move", "shutil.rmtree"):
            tick()

    sys.addaudithook(hook)


def age_locks(repo: Path, seconds: float = 10) -> list[Path]:
    """Make ref lock files look as old as if somebody had waited."""
    found = list((repo / ".git" / "refs").rglob("*.lock"))
    for one in found:
        os.utime(one, (time.time() - seconds,) * 2)
    return found


def together(count: int, source: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start processes that run the same Python code; `sys.argv[1:]` is the arguments, then the process's number."""
    head = "import sys\nfrom pathlib import Path\nfrom tests.store.kit import *\n"
    for number in range(count):
        yield subprocess.Popen(
            [sys.executable, "-c", head + source, *arguments, str(number)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def outcomes(crowd: list[subprocess.Popen[str]], seconds: float = 100) -> list[str]:
    """What each printed; a process that failed fails the test."""
    said = []
    for one in crowd:
        out, err = one.communicate(timeout=seconds)
        assert one.returncode == 0, err
        said.append(out)
    return said
