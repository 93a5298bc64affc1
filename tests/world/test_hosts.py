"""The git servers that tests run: each takes a clone, a push and a fetch, and fails in the way it was told to."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import git
from tests.http_host import LOOK, Fault, HttpHost
from tests.remotes import KINDS, Serve
from tests.world.desk import until

OURS = "refs/codestrator/state"


def clone(url: str, folder: Path) -> Path:
    git("clone", "-q", url, str(folder), at=folder.parent)
    return folder


def tried(*arguments: str, at: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=at, capture_output=True, text=True, check=False, timeout=60)


def commit(folder: Path, name: str = "one.txt") -> str:
    (folder / name).write_text(name, encoding="utf-8")
    git("add", ".", at=folder)
    git("commit", "-qm", name, at=folder)
    return git("rev-parse", "HEAD", at=folder)


def http(serve: Serve, **settings: str) -> HttpHost:
    host = serve("http", **settings)
    assert isinstance(host, HttpHost)
    return host


@pytest.mark.parametrize("kind", KINDS)
def test_what_one_clone_pushes_another_fetches(serve: Serve, tmp_path: Path, kind: str) -> None:
    host = serve(kind)
    one, two = clone(host.url, tmp_path / "one"), clone(host.url, tmp_path / "two")
    made = commit(one)
    git("push", "-q", "--atomic", "origin", "HEAD:refs/heads/main", f"HEAD:{OURS}", at=one)
    assert host.refs() == {"refs/heads/main": made, OURS: made}
    git("fetch", "-q", "origin", f"+{OURS}:refs/codestrator-remote/origin/state", at=two)
    assert git("rev-parse", "refs/codestrator-remote/origin/state", at=two) == made


@pytest.mark.parametrize("kind", KINDS)
def test_a_lease_on_what_is_no_longer_there_is_refused(serve: Serve, tmp_path: Path, kind: str) -> None:
    host = serve(kind)
    one = clone(host.url, tmp_path / "one")
    seen = git("rev-parse", "HEAD", at=one)
    first = commit(one)
    git("push", "-q", "origin", "HEAD:main", at=one)
    commit(one, "two.txt")
    assert tried("push", f"--force-with-lease=main:{seen}", "origin", "HEAD:main", at=one).returncode != 0
    assert host.refs()["refs/heads/main"] == first


def test_two_hosts_have_ports_and_hubs_of_their_own(serve: Serve, tmp_path: Path) -> None:
    one, two = serve("daemon"), serve("daemon")
    folder = clone(one.url, tmp_path / "one")
    made = commit(folder)
    git("push", "-q", "origin", "HEAD:main", at=folder)
    assert one.refs()["refs/heads/main"] == made != two.refs()["refs/heads/main"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "file"])
def test_nobody_answers_once_it_was_stopped(serve: Serve, tmp_path: Path, kind: str) -> None:
    host = serve(kind)
    folder = clone(host.url, tmp_path / "one")
    host.stop()
    assert tried("ls-remote", "origin", at=folder).returncode != 0


def test_an_http_host_lets_in_who_knows_the_word(serve: Serve, tmp_path: Path) -> None:
    host = http(serve, auth="ada:secret")
    folder = clone(host.url, tmp_path / "one")
    made = commit(folder)
    git("push", "-q", "origin", "HEAD:main", at=folder)
    assert host.refs()["refs/heads/main"] == made
    assert tried("ls-remote", host.url.replace("secret", "guess"), at=folder).returncode != 0


def test_an_http_host_takes_bodies_that_come_in_chunks(serve: Serve, tmp_path: Path) -> None:
    host = http(serve)
    folder = clone(host.url, tmp_path / "one")
    (folder / "large").write_bytes(os.urandom(2_000_000))
    made = commit(folder)
    git("push", "-q", "origin", "HEAD:main", at=folder)
    assert host.refs()["refs/heads/main"] == made


@pytest.mark.parametrize(("fault", "applied"), [("drop", True), ("vanish", True), ("cut", False), ("refuse", False)])
def test_an_http_host_fails_before_or_after_it_did_what_was_asked(
    serve: Serve, tmp_path: Path, fault: Fault, applied: bool
) -> None:
    host = http(serve)
    folder = clone(host.url, tmp_path / "one")
    made = commit(folder)
    host.fail(fault, times=2)  # curl asks again where not a byte came back
    assert tried("push", "origin", "HEAD:main", at=folder).returncode != 0
    host.heal()
    assert (host.refs()["refs/heads/main"] == made) is applied
    assert git("ls-remote", "origin", "main", at=folder).startswith(host.refs()["refs/heads/main"])


def test_an_http_host_that_died_answers_nobody_until_it_is_well_again(serve: Serve, tmp_path: Path) -> None:
    host = http(serve)
    folder = clone(host.url, tmp_path / "one")
    made = commit(folder)
    host.fail("die")
    assert tried("push", "origin", "HEAD:main", at=folder).returncode != 0
    assert tried("ls-remote", "origin", at=folder).returncode != 0
    host.heal()
    assert git("ls-remote", "origin", "main", at=folder).startswith(made)


def test_an_http_host_is_silent_until_it_is_let_go(serve: Serve, tmp_path: Path) -> None:
    host = http(serve)
    folder = clone(host.url, tmp_path / "one")
    host.fail("silent", LOOK)
    with subprocess.Popen(["git", "ls-remote", "origin"], cwd=folder, stderr=subprocess.DEVNULL) as asking:
        until(lambda: host.pending == 0)
        assert asking.poll() is None
        host.heal()
        assert asking.wait(20) != 0


@pytest.mark.parametrize("at_once", [False, True], ids=["ref by ref", "at once"])
def test_a_host_may_take_only_branches(serve: Serve, tmp_path: Path, at_once: bool) -> None:
    host = serve()
    host.takes_only_branches(at_once=at_once)
    folder = clone(host.url, tmp_path / "one")
    made = commit(folder)
    assert tried("push", "origin", "HEAD:main", f"HEAD:{OURS}", at=folder).returncode != 0
    assert OURS not in host.refs()
    assert (host.refs()["refs/heads/main"] == made) is not at_once
    git("push", "-q", "origin", "HEAD:main", "HEAD:refs/notes/codestrator", at=folder)


def test_a_host_may_lack_atomic_pushes_or_refuse_to_rewind(serve: Serve, tmp_path: Path) -> None:
    plain, strict = serve(receive_advertiseAtomic="false"), serve(receive_denyNonFastForwards="true")
    folder = clone(plain.url, tmp_path / "one")
    commit(folder)
    assert "atomic" in tried("push", "--atomic", "origin", "HEAD:main", at=folder).stderr
    git("push", "-q", strict.url, "HEAD:main", at=folder)
    git("commit", "-q", "--amend", "-m", "another", at=folder)
    assert tried("push", "--force", strict.url, "HEAD:main", at=folder).returncode != 0
