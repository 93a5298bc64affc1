"""Our refs on a server, only through the git program: refspecs are said on its command line, and never configured."""

import re
from collections.abc import Sequence

from codestrator.errors import External, Offline, UnreadableState, Unsupported
from codestrator.keyshapes import seen_in
from codestrator.ports import Git
from codestrator.programs import Push, Pushed
from codestrator.text import one_line
from codestrator.world.git import TAIL, gist

EMPTY = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"  # git's name for a tree with nothing in it
DIFF = ("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--unified=0")
LOCKS = "refs/codestrator/locks"
OURS, NOTES = "refs/codestrator/", "refs/notes/codestrator"
# Our own push goes past the user's hooks, ours among them, which would push again.
ENVIRONMENT = {"CODESTRATOR_PUSHING": "1", "GIT_ASKPASS": "true", "SSH_ASKPASS_REQUIRE": "never"}
FETCH = (
    *("-c", "fetch.fsckObjects=true", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-prune"),
    *("--no-recurse-submodules", "--no-auto-maintenance", "--no-filter", "--refmap="),
)
PUSH = (
    *("-c", "push.gpgSign=false", "push", "--porcelain", "--no-verify", "--no-follow-tags"),
    *("--recurse-submodules=no", "--no-force"),
)
# Words of a server for a ref that somebody else moved, or is moving.
LOST = (
    "stale info",
    "atomic push fail",
    "atomic transaction failed",
    "fetch first",
    "non-fast-forward",
    "incorrect old value",
    "cannot lock ref",
    "failed to update ref",
)
# Words of git for objects that it would not have in a repository.
DAMAGED = ("fsck error", "index-pack failed", "invalid index-pack output", "unpack-objects", "necessary objects")
# And for one of ours that another sync of this repository has moved meanwhile.
IN_THE_WAY = "cannot lock ref"
FETCH_TRIES = 10
_LINE = re.compile(r"^([ +\-*!=])\t[^\t:]*:([^\t]+)\t(.*)$", re.MULTILINE)
_LISTED = re.compile(r"^([0-9a-f]{40})\t(\S+)$", re.MULTILINE)


class GitRemotes:
    """`prefix` is where a server has what is called `refs/codestrator/` here; the notes go there too if it differs."""

    def __init__(self, git: Git, prefix: str, *, scans: bool) -> None:
        self._git = git
        self._scans = scans
        self._prefix = prefix

    def _there(self, ref: str) -> str:
        """A local name as the server has it."""
        if self._prefix == OURS or not ref.startswith((OURS, NOTES)):
            return ref
        return f"{self._prefix}notes" if ref == NOTES else self._prefix + ref.removeprefix(OURS)

    def _here(self, name: str) -> str:
        if self._prefix == OURS or not name.startswith(self._prefix):
            return name
        return NOTES if name == f"{self._prefix}notes" else OURS + name.removeprefix(self._prefix)

    def known(self, remote: str) -> bool:
        return bool(remote and self._git.config(f"remote.{remote}.url"))

    def listed(self, remote: str, *, seconds: float) -> dict[str, str]:
        patterns = (f"{self._prefix}*", *((NOTES,) if self._prefix == OURS else ()))
        out = self._run(("ls-remote", "--quiet", "--refs", "--", remote, *patterns), remote, seconds)
        return {self._here(name): commit for commit, name in _LISTED.findall(out)}

    def fetch(self, remote: str, refs: Sequence[tuple[str, str]], *, seconds: float) -> None:
        specs = [f"+{self._there(ref)}:{place}" for ref, place in refs]
        for _ in range(FETCH_TRIES):
            status, _, err = self._tried((*FETCH, "--", remote, *specs), remote, seconds)
            if not (status and IN_THE_WAY in err):
                break
        if status and any(one in err for one in DAMAGED):
            names = ", ".join(ref for ref, _ in refs[:3])
            raise UnreadableState(
                f"'{names}' on '{remote}' is damaged: {one_line(gist(err))}",
                hint="Ask who pushed there; what is here is unchanged.",
                ref=refs[0][0],
                document=names,
                reason=err[-TAIL:],
            )
        if status:
            raise _offline(remote, seconds, err)

    def send(self, remote: str, moves: Sequence[Push], *, seconds: float, atomic: bool = False) -> dict[str, Pushed]:
        kept = {move.ref: words for move in moves if self._scans and (words := self._with_key(move, seconds))}
        if atomic and kept:
            return {move.ref: Pushed("refused", "; ".join(kept.values())) for move in moves}
        found = {ref: Pushed("refused", words) for ref, words in kept.items()}
        rest = [move for move in moves if move.ref not in kept]
        return found | (self._sent(remote, rest, seconds, atomic=atomic) if rest else {})

    def _with_key(self, move: Push, seconds: float) -> str:
        """Why our ref stays here: what is new in it looks like a key. Branches of the user are not looked into."""
        if not move.new or not move.ref.startswith((OURS, NOTES)) or move.ref == LOCKS:
            return ""
        before = f"{move.new}^1" if move.ref.startswith(f"{OURS}rescue/") else move.seen or EMPTY
        status, out, _ = self._git.try_run(*DIFF, before, move.new, "--", seconds=seconds)
        added = "\n".join(line for line in out.split("\n") if line.startswith("+")) if status == 0 else ""
        if not (found := seen_in(added)):
            return ""
        return (
            f"not pushed, because it holds what looks like {' and '.join(found)}: take it out (git codestrator doctor "
            "names where), or allow it with git config codestrator.scanSecrets false"
        )

    def _sent(self, remote: str, moves: Sequence[Push], seconds: float, *, atomic: bool) -> dict[str, Pushed]:
        leases = [f"--force-with-lease={self._there(move.ref)}:{move.seen or ''}" for move in moves]
        specs = [f"{move.new}:{self._there(move.ref)}" for move in moves]
        at_once = ("--atomic",) if atomic else ()
        ours_only = ("-c", f"remote.{remote}.mirror=false")  # a mirror's push takes no refspecs: it is forced, and all
        status, out, err = self._tried((*ours_only, *PUSH, *at_once, *leases, "--", remote, *specs), remote, seconds)
        if atomic and "does not support --atomic" in err:
            raise Unsupported(
                f"remote '{remote}' knows no atomic push, expected one that does",
                hint="In every clone, run git codestrator init --authority local, or use another server.",
                field="remote",
                found=remote,
            )
        found = {self._here(name): _verdict(flag, words) for flag, name, words in _LINE.findall(out)}
        if missing := [move.ref for move in moves if move.ref not in found]:
            raise _offline(remote, seconds, err or f"nothing was said of {missing[0]} (status {status})")
        return found

    def _run(self, command: tuple[str, ...], remote: str, seconds: float) -> str:
        status, out, err = self._tried(command, remote, seconds)
        if status:
            raise _offline(remote, seconds, err)
        return out

    def _tried(self, command: tuple[str, ...], remote: str, seconds: float) -> tuple[int, str, str]:
        try:
            return self._git.try_run(*command, env=ENVIRONMENT, seconds=seconds)
        except External as error:
            raise _offline(remote, seconds, error.message) from None


def _verdict(flag: str, words: str) -> Pushed:
    if flag in " +*=-":
        return Pushed("done", words)
    return Pushed("lost" if any(one in words for one in LOST) else "refused", words)


def _offline(remote: str, seconds: float, err: str) -> Offline:
    return Offline(
        f"remote '{remote}' did not answer: {one_line(gist(err))}; local state is unchanged",
        hint=f"Try git ls-remote {remote} in a terminal, then call again; codestrator.syncTimeout gives it more time.",
        remote=remote,
        after_seconds=seconds,
        stderr_tail=err[-TAIL:],
    )
