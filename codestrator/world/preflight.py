"""Proves before a child is launched that its Codex can work here: that it is there, is trusted, and can commit."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from codestrator import text
from codestrator.world.codex import native_program
from codestrator.world.git import LOCAL, gist

Finding = dict[str, Any]
Status = Literal["ok", "warning", "error"]
PROBE_SECONDS = 15.0
BEGUN = "begun"
# git knows the empty tree without having it; the commit, its ref and the index are of this probe alone. What a commit
# writes is written: an object, a ref of this worktree, an index by way of its lock. Then it is taken away.
PROBE = r"""
set -eu
echo begun
git() { command git -c core.hooksPath=/dev/null -c commit.gpgSign=false -c core.logAllRefUpdates=false "$@"; }
own=$(git rev-parse --absolute-git-dir)
common=$(git rev-parse --path-format=absolute --git-common-dir)
ref=refs/worktree/codestrator-probe-$1
index=$own/index.codestrator-probe-$1
commit=
tidy() {
    rm -f "$index" "$index.lock"
    [ -z "$commit" ] && return
    folder=$common/objects/$(echo "$commit" | cut -c1-2)
    rm -f "$folder/$(echo "$commit" | cut -c3-)"
    rmdir "$folder" "$own/refs/worktree" 2>/dev/null || :
    [ "$own" = "$common" ] || rmdir "$own/refs" 2>/dev/null || :
}
trap tidy EXIT
commit=$(git commit-tree -m "probe $1" 4b825dc642cb6eb9a060e54bf8d69288fbee4904 </dev/null)
GIT_INDEX_FILE=$index git read-tree --empty
git update-ref "$ref" "$commit"
git update-ref -d "$ref" "$commit"
echo committed
"""
_NOT_WRITABLE = re.compile(
    r"read-only file system|permission denied|not permitted|unable to create|cannot lock", re.IGNORECASE
)
_NOBODY = re.compile(r"tell me who you are|empty ident|unable to auto-detect email", re.IGNORECASE)


def check(
    program: Sequence[str],
    folder: Path,
    common_dir: Path,
    environment: Mapping[str, str],
    overrides: Sequence[str] = (),
) -> list[Finding]:
    """What stands in the way of a child that works in `folder`: findings {check, status, found, expected, hint}.

    `environment` is added to our own. `overrides` are further words for Codex (`-c key=value`), as the child gets them;
    the sandbox with its writable roots is chosen here.
    """
    given = {name: value for name, value in os.environ.items() if name not in LOCAL} | dict(environment)
    command = native_program(program, given)
    there = _program(command, given)
    found = [there, _trust(folder, common_dir, given), _roots(folder, common_dir)]
    if there["status"] == "ok":
        settings = ["-c", 'sandbox_mode="workspace-write"', "-c", _roots_setting(folder, common_dir)]
        found.append(_commit([*command, "sandbox", *settings, *overrides], folder, common_dir, given))
    return found


def settings_seen(program: Sequence[str], environment: Mapping[str, str]) -> tuple[Any, ...]:
    """What changes when Codex or its configuration does."""
    return tuple(_stamp(Path(one)) for one in (program[0], _config(environment)))


def _stamp(place: Path) -> tuple[int, int, int] | None:
    try:
        seen = place.stat()
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size, seen.st_ino


def _config(environment: Mapping[str, str]) -> Path:
    home = environment.get("CODEX_HOME") or str(Path(environment.get("HOME") or "~").expanduser() / ".codex")
    return Path(home) / "config.toml"


def writable_roots(folder: Path, common_dir: Path) -> list[str]:
    """What a child must be able to write besides its folder to commit there: the git directories of its worktree."""
    return list(dict.fromkeys([str(common_dir), str(git_dir(folder, common_dir))]))


def git_dir(folder: Path, common_dir: Path) -> Path:
    """The worktree's own git directory: a linked one has it below the common one."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        place = (folder / ".git").read_text(encoding="utf-8").strip().removeprefix("gitdir: ")
        return Path(os.path.normpath(folder / place))
    return common_dir


def _program(command: Sequence[str], environment: Mapping[str, str]) -> Finding:
    place = shutil.which(command[0], path=environment.get("PATH"))
    hint = "Install Codex: npm install -g @openai/codex; or give its place as codex_command."
    return _finding("program", "ok" if place else "error", place or "none", f"the program '{command[0]}'", hint)


def _trust(folder: Path, common_dir: Path, environment: Mapping[str, str]) -> Finding:
    """Codex reads a project's own configuration and hooks only if the user has trusted it."""
    config = _config(environment)
    main = common_dir.parent if common_dir.name == ".git" else common_dir
    expected = f"trust_level = \"trusted\" for the project '{main}' in '{config}'"
    try:
        found = tomllib.loads(config.read_text(encoding="utf-8")).get("projects")
    except FileNotFoundError:
        found = None
    except (OSError, ValueError) as error:
        hint = f"Correct '{config}': Codex does not start with it."
        return _finding("trust", "error", f"unreadable: {text.one_line(str(error))}", expected, hint)
    projects = found if isinstance(found, dict) else {}
    places = [str(place) for one in (main, folder) for place in (one, one.resolve())]
    levels = [str(projects[place].get("trust_level")) for place in places if isinstance(projects.get(place), dict)]
    hint = f"Add to '{config}': [projects.{_quoted(str(main))}] trust_level = \"trusted\""
    return _finding("trust", "ok" if levels[:1] == ["trusted"] else "warning", (levels or ["none"])[0], expected, hint)


def _roots(folder: Path, common_dir: Path) -> Finding:
    roots = writable_roots(folder, common_dir)
    wrong = [root for root in roots if not (Path(root).is_dir() and os.access(root, os.W_OK))]
    hint = "Give this user the right to write there, or mount it writable."
    found = f"not writable: {', '.join(wrong)}" if wrong else ", ".join(roots)
    return _finding("writable_roots", "error" if wrong else "ok", found, "git directories that can be written", hint)


def _commit(command: Sequence[str], folder: Path, common_dir: Path, environment: Mapping[str, str]) -> Finding:
    """Commit in the child's sandbox; an error only where it ran and git could not."""
    expected = "a commit made in the child's sandbox, and taken back"
    nonce = os.urandom(6).hex()
    try:
        status, out, err = _run([*command, "--", "/bin/sh", "-c", PROBE, "sh", nonce], folder, environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        status, out, err = -1, "", str(error) if isinstance(error, OSError) else f"no end within {PROBE_SECONDS:g} s"
    finally:
        _tidy(git_dir(folder, common_dir), common_dir, nonce)
    if status == 0 and "committed" in out:
        return _finding("commit", "ok", "committed", expected, "")
    said = _gist(err) or f"status {status}"
    if BEGUN not in out.splitlines():
        hint = "Whether the child can commit is not known; try: codex sandbox -- git status"
        return _finding("commit", "warning", f"codex sandbox did not run: {said}", expected, hint)
    return _finding("commit", "error", said, expected, _cure(err, folder, common_dir))


def _cure(said: str, folder: Path, common_dir: Path) -> str:
    if _NOBODY.search(said):
        return "Tell git who commits: git config user.name and git config user.email."
    if _NOT_WRITABLE.search(said):
        return f"Allow it in Codex's configuration: {_roots_setting(folder, common_dir)}"
    return "Try by hand in the worktree: codex sandbox -- git commit --allow-empty -m probe"


def _gist(err: str) -> str:
    """What went wrong, without Codex's warnings before and its backtrace after."""
    lines = [line for line in err.partition("Stack backtrace:")[0].splitlines() if not line.startswith("WARNING:")]
    return text.one_line(gist("\n".join(lines)))


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Status and what was said; what takes too long ends with all that it started."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        start_new_session=True,
        text=True,
        errors="replace",
    ) as process:
        try:
            out, err = process.communicate(timeout=PROBE_SECONDS)
        except BaseException:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, out, err


def _tidy(own: Path, common_dir: Path, nonce: str) -> None:
    """What a probe that was ended could not take away itself."""
    for name in (f"index.codestrator-probe-{nonce}", f"refs/worktree/codestrator-probe-{nonce}"):
        for place in (own / name, own / f"{name}.lock"):
            with contextlib.suppress(OSError):
                place.unlink()
    with contextlib.suppress(OSError):
        (own / "refs" / "worktree").rmdir()
        if own != common_dir:
            (own / "refs").rmdir()


def _roots_setting(folder: Path, common_dir: Path) -> str:
    roots = ", ".join(_quoted(root) for root in writable_roots(folder, common_dir))
    return f"sandbox_workspace_write.writable_roots=[{roots}]"


def _quoted(value: str) -> str:
    """As a basic string of TOML."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _finding(check: str, status: Status, found: str, expected: str, hint: str) -> Finding:
    return {
        "check": check,
        "status": status,
        "found": found,
        "expected": expected,
        "hint": "" if status == "ok" else hint,
    }
