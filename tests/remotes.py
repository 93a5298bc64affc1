"""Git servers for tests, each a real program on a free port of loopback, in a temporary folder, ended with its test.

`FileHost` is a bare hub reached by path; each other class serves such a hub in its own way.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pytest

LOOPBACK = "127.0.0.1"
START_SECONDS = 20.0
FIRST = """commit refs/heads/main
committer Ada Tester <ada@example.org> 1700000000 +0000
data 5
first
M 100644 inline README.md
data 5
shop

"""
# Told for each ref: what the host does not take is refused alone, the rest of the push goes on.
BRANCHES_ONLY = """#!/bin/sh
case "$1" in
refs/heads/*|refs/tags/*|refs/notes/*) exit 0 ;;
esac
echo "only branches, tags and notes are taken here" >&2
exit 1
"""
# Told once for a whole push, of which nothing is taken where one ref is not.
BRANCHES_ONLY_AT_ONCE = """#!/bin/sh
while read -r old new ref; do
    case "$ref" in
    refs/heads/*|refs/tags/*|refs/notes/*) ;;
    *) echo "only branches, tags and notes are taken here" >&2; exit 1 ;;
    esac
done
"""


class FileHost:
    """A bare hub with one commit on `main`; `settings` are keys of its configuration, dots as underscores."""

    needs: ClassVar[tuple[str, ...]] = ("git",)

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.hub = folder / "hub.git"
        self.env: dict[str, str] = {}
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(self.hub)], check=True)
        self("fast-import", "--quiet", said=FIRST)
        usual = {"http.receivepack": "true", "uploadpack.allowFilter": "true", "uploadpack.allowAnySHA1InWant": "true"}
        for name, value in (usual | {key.replace("_", "."): value for key, value in settings.items()}).items():
            self("config", name, value)

    @property
    def url(self) -> str:
        return f"file://{self.hub}"

    def start(self) -> None:
        """Return once it answers."""

    def stop(self) -> None:
        """End it, and all that it started."""

    def __call__(self, *arguments: str, said: str = "") -> str:
        """Run git in the hub itself, as its owner would; a failure fails the test."""
        done = subprocess.run(
            ["git", *arguments], cwd=self.hub, input=said, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr}"
        return done.stdout.rstrip("\n")

    def refs(self) -> dict[str, str]:
        """Every ref of the hub with its object."""
        lines = self("for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def hook(self, name: str, script: str) -> None:
        place = self.hub / "hooks" / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(script, encoding="utf-8")
        place.chmod(0o755)

    def takes_only_branches(self, *, at_once: bool = False) -> None:
        """Refuse each ref outside of branches, tags and notes; or the whole push that has one."""
        if at_once:
            self.hook("pre-receive", BRANCHES_ONLY_AT_ONCE)
        else:
            self.hook("update", BRANCHES_ONLY)


class ServedHost(FileHost):
    """A hub behind a program that listens on a port of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        super().__init__(folder, **settings)
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """What is to be started."""

    def start(self) -> None:
        for _ in range(5):  # another process may take the port between our look and its start
            self.port = free_port()
            log = (self.folder / "log").open("ab")
            with log:
                self._process = subprocess.Popen(
                    self.command(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
                )
            if answers(self.port, self._process):
                return
            self.stop()
        raise AssertionError(f"it did not start: {(self.folder / 'log').read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        if self._process:
            for pid in (*descendants(self._process.pid), self._process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class DaemonHost(ServedHost):
    """`git daemon` that takes pushes."""

    needs = ("git daemon",)

    def command(self) -> list[str]:
        served = ["--export-all", "--enable=receive-pack", f"--base-path={self.folder}", str(self.folder)]
        program = str(exec_path() / "git-daemon")  # itself, so that its group is the one that we end
        return [program, "--reuseaddr", f"--listen={LOOPBACK}", f"--port={self.port}", *served]

    @property
    def url(self) -> str:
        return f"git://{LOOPBACK}:{self.port}/hub.git"


SSHD = """Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/id.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
AcceptEnv GIT_PROTOCOL
SetEnv HOME={folder} PATH={path} GIT_CONFIG_NOSYSTEM=1
MaxStartups 200:30:400
"""
SSH = """Host *
  IdentityFile "{folder}/id"
  IdentitiesOnly yes
  UserKnownHostsFile "{folder}/known"
  StrictHostKeyChecking no
  LogLevel ERROR
"""


class SshHost(ServedHost):
    """`sshd` with keys that are thrown away; `env` tells git how to reach it.

    The login shell reads the start-up files of a home of its own: those of the developer may do anything.
    """

    needs = ("sshd", "ssh", "ssh-keygen")

    def __init__(self, folder: Path, **settings: str) -> None:
        super().__init__(folder, **settings)
        for name in ("host", "id"):
            place = str(folder / name)
            subprocess.run([found("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", place], check=True)
        (folder / "ssh_config").write_text(SSH.format(folder=folder), encoding="utf-8")
        self.env = {"GIT_SSH_COMMAND": f"ssh -F '{folder}/ssh_config'"}
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # it insists on this one when the administrator starts it

    def command(self) -> list[str]:
        config = self.folder / "sshd_config"
        path = os.environ.get("PATH", os.defpath)
        config.write_text(SSHD.format(port=self.port, folder=self.folder, path=path), encoding="utf-8")
        return [found("sshd"), "-D", "-e", "-f", str(config)]

    @property
    def url(self) -> str:
        return f"ssh://{LOOPBACK}:{self.port}{self.hub}"


def free_port() -> int:
    with socket.socket() as one:
        one.bind((LOOPBACK, 0))
        port: int = one.getsockname()[1]
        return port


def answers(port: int, process: "subprocess.Popen[bytes]") -> bool:
    """Whether it takes connections; False as soon as it is over."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            socket.create_connection((LOOPBACK, port), timeout=1).close()
            return process.poll() is None
        except OSError:
            try:
                process.wait(0.02)
                return False
            except subprocess.TimeoutExpired:
                continue
    return False


def descendants(pid: int) -> list[int]:
    """What a process has started, sessions of their own included."""
    parents: dict[int, int] = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError):  # over meanwhile
            parents[int(place.parent.name)] = int(place.read_bytes().rpartition(b")")[2].split()[1])
    below = [pid]
    for one in below:
        below += [child for child, parent in parents.items() if parent == one]
    return below[1:]


def exec_path() -> Path:
    return Path(subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip())


def found(program: str) -> str:
    """Where a program is; servers are often in folders that users do not search. Nothing where it is missing."""
    if program.startswith("git "):
        place = exec_path() / program.replace(" ", "-")
        return str(place) if place.exists() else ""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/sbin") or ""


def hosts() -> dict[str, type[FileHost]]:
    from tests.http_host import HttpHost

    return {"file": FileHost, "http": HttpHost, "daemon": DaemonHost, "ssh": SshHost}


KINDS = ("file", "http", "daemon", "ssh")
Serve = Callable[..., FileHost]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start hosts, `serve("http", auth="ada:secret")`; git is told how to reach them, and they end with the test."""
    monkeypatch.setenv("no_proxy", LOOPBACK)
    started: list[FileHost] = []

    def begin(kind: str = "file", **settings: str) -> FileHost:
        chosen = hosts()[kind]
        for program in chosen.needs:
            if not found(program):
                pytest.skip(f"needs {program}, which is not installed")
        one = chosen(tmp_path / f"host{len(started)}", **settings)
        started.append(one)
        one.start()
        for name, value in one.env.items():
            monkeypatch.setenv(name, value)
        return one

    yield begin
    for one in started:
        one.stop()
