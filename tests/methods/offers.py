"""Two machines of one hub for tests of handing a session over: work in progress, an offer, a taking."""

from pathlib import Path
from typing import Any

from tests.actors import Actor
from tests.conftest import git
from tests.machines import Machine


def offered(one: Machine, **given: Any) -> dict[str, Any]:
    return one("handoff.offer", session_id=one.session, **given)


def take(other: Actor, target: Machine | str, **given: Any) -> dict[str, Any]:
    """Take over; the taker works on with that session, in its root worktree."""
    session = target if isinstance(target, str) else target.session
    found = other("handoff.take", target_session_id=session, **given)
    other.session, other.thread = found["session"]["id"], found["root_thread"]["id"]
    other.worktree = found["session_root_worktree"]["id"]
    other.path = Path(other.world.repo) / found["session_root_worktree"].get("path", "")
    return found


def begun(one: Machine) -> str:
    """A case with one step done of two, and a lock; the case's id."""
    case = one.case("write", "run")
    one("case.begin", case_id=case)
    one("step.check", step_id=f"{case}.1", result="pass")
    one("lock.acquire", scope_type="prefix", scope_path="src")
    return case


def commit(folder: Path, **files: str) -> str:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    git("add", ".", at=folder)
    git("commit", "-qm", "work", at=folder)
    return git("rev-parse", "HEAD", at=folder)


def half_done(folder: Path) -> None:
    """Commits that no server has, and changes of every kind on top of them."""
    names = ("staged", "unstaged", "both", "gone", "unstaged gone", "mode", "kind")
    commit(folder, **{f"{name}.txt": f"{name}\n" for name in names}, **{".gitignore": "*.secret\n"})
    (folder / "staged.txt").write_text("changed and staged\n")
    (folder / "both.txt").write_text("staged\n")
    (folder / "gone.txt").unlink()
    (folder / "kind.txt").unlink()
    (folder / "kind.txt").symlink_to("staged.txt")
    (folder / "new.txt").write_text("staged and new\n")
    git("add", "-A", at=folder)
    (folder / "both.txt").write_text("staged, and changed again\n")
    (folder / "unstaged.txt").write_text("changed\n")
    (folder / "unstaged gone.txt").unlink()
    (folder / "mode.txt").chmod(0o755)
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / 'ü ntracked\n\t"name".txt').write_text("not known\n")
    (folder / "link").symlink_to("nowhere/at all")
    (folder / "picture.bin").write_bytes(bytes(range(256)) * 50)
    (folder / "empty file").touch()
    (folder / "tool").write_text("#!/bin/sh\n")
    (folder / "tool").chmod(0o755)
    (folder / "empty folder").mkdir()
    (folder / "key.secret").write_text("never\n")


def seen(folder: Path) -> dict[str, str]:
    """What git says of a worktree, and what lies in it: all that is to come back."""
    asked = {
        "status": ("status", "--porcelain", "-z", "--untracked-files=all"),
        "staged": ("diff", "--cached", "--binary"),
        "unstaged": ("diff", "--binary"),
        "head": ("rev-parse", "HEAD"),
        "branch": ("symbolic-ref", "HEAD"),
    }
    found = {name: git(*words, at=folder) for name, words in asked.items()}
    for place in sorted(folder.rglob("*")):
        name = str(place.relative_to(folder))
        if name == ".git" or place.suffix == ".secret" or (place.is_dir() and not place.is_symlink()):
            continue
        found[name] = (
            str(place.readlink()) if place.is_symlink() else f"{place.stat().st_mode:o} {place.read_bytes()!r}"
        )
    return found
