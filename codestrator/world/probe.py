"""Asks a remote, by trying it, whether it takes refs of ours, and several at once or none."""

import os
import tempfile
import time
from pathlib import Path

from codestrator import ids, ports
from codestrator.errors import CodestratorError, External, NotFound, Offline, Unsupported
from codestrator.world.git import gist

OTHER_PREFIX = "refs/heads/codestrator/"
NO_ATOMIC = "does not support --atomic"
UNREACHABLE = ("could not read from remote", "could not resolve host", "unable to access", "does not appear to be")


class Probe:
    """A ref with an empty commit is made at the remote and deleted again; nothing is written here."""

    def __init__(self, git: ports.Git, common_dir: Path, settings: ports.Settings) -> None:
        self._git = git
        self._common_dir = common_dir
        self._settings = settings

    def known(self, remote: str) -> None:
        """Refuse a name that is no remote's."""
        if self._git.try_run("remote", "get-url", "--", remote)[0]:
            found = self._git.run("remote").split()
            raise NotFound(
                f"no remote '{remote}', expected one of {', '.join(map(repr, found)) or 'git remote add'}",
                hint="List them with git remote, or add it with git remote add.",
                kind="remote",
                id=remote,
            )

    def ref(self) -> str:
        return f"{self._settings.ref_prefix}probe/{ids.mint_body()}"

    def run(self, remote: str, *, atomic: bool) -> str | None:
        """Try it; a warning if the ref could not be deleted again.

        `offline` without an answer in time, `external` where the remote takes no such refs, `unsupported` where it
        knows no atomic push and one is asked for.
        """
        self.known(remote)
        ref = self.ref()
        with tempfile.TemporaryDirectory(prefix="codestrator-probe-") as folder:
            objects = {
                "GIT_OBJECT_DIRECTORY": folder,
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(self._common_dir / "objects"),
            }
            tree = self._git.run("hash-object", "-t", "tree", "-w", "--stdin", stdin=b"", env=objects)
            commit = self._git.run("commit-tree", tree, "-m", "codestrator: probe", env=objects | _nobody())
            options = ("--atomic",) if atomic else ()
            self._push(remote, f"{commit}:{ref}", *options, env=objects)
        try:
            self._push(remote, f":{ref}", env={})
        except CodestratorError as error:
            return f"'{ref}' stays at '{remote}', which does not let it be deleted: {error.message}"
        return None

    def _push(self, remote: str, spec: str, *options: str, env: dict[str, str]) -> None:
        seconds, start = self._settings.sync_timeout, time.monotonic()
        command = ("push", "--no-verify", "--porcelain", "--no-follow-tags", *options, "--", remote, spec)
        try:
            status, out, err = self._git.try_run(*command, env=env | self._silent(), seconds=seconds)
        except External:
            if time.monotonic() - start < seconds:
                raise
            raise Offline(
                f"remote '{remote}' did not answer within {seconds} s, nothing was changed",
                hint="Try again with a connection, or raise codestrator.syncTimeout.",
                remote=remote,
                after_seconds=seconds,
            ) from None
        if status:
            raise self._refused(remote, f"{out}\n{err}")

    def _silent(self) -> dict[str, str]:
        """Nobody is asked for a password; a command for ssh that the user has set is left as it is."""
        own = os.environ.get("GIT_SSH_COMMAND") or self._git.config("core.sshCommand")
        ssh = {} if own else {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}
        return {"CODESTRATOR_PUSHING": "1", "GIT_ASKPASS": "true", "SSH_ASKPASS": "true", **ssh}

    def _refused(self, remote: str, said: str) -> CodestratorError:
        if NO_ATOMIC in said:
            return Unsupported(
                f"remote '{remote}' knows no atomic push, which authority 'remote' needs",
                hint="Use --authority local, or a server that knows atomic pushes.",
                field="authority",
                found="remote",
                offered="local",
            )
        if any(one in said.lower() for one in UNREACHABLE):
            return Offline(
                f"remote '{remote}' cannot be reached: {gist(said)}",
                hint="Look at its address and at your access with git ls-remote.",
                remote=remote,
                after_seconds=0,
            )
        prefix = self._settings.ref_prefix
        return External(
            f"remote '{remote}' refuses refs below '{prefix}': {gist(said)}",
            hint=f"Choose another place for them: git config codestrator.refPrefix {OTHER_PREFIX}, then init again."
            if prefix != OTHER_PREFIX
            else "Ask who runs the server to permit them, or leave --remote out.",
            program="git",
            stderr_tail=said[-500:],
        )


def _nobody() -> dict[str, str]:
    """An author for a user who has not told git a name yet."""
    name, mail = "codestrator", "codestrator@localhost"
    return {
        "GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": mail, "GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": mail
    }  # fmt: skip
