"""sync.run and the host: which one, what it refuses, and when nobody answers."""

import pytest

from codestrator.errors import InvalidParams, Offline, WrongState
from tests.actors import Actor, unchanged
from tests.machines import LOCKS, NOTES, STATE, TRACKING, Joins, in_step
from tests.methods.test_sync import SNAPSHOTS, item, saved
from tests.remotes import Serve


@pytest.mark.parametrize("at_once", [False, True], ids=["ref by ref", "at once"])
def test_a_host_that_takes_only_branches_is_told_of_with_the_setting_that_helps(
    serve: Serve, machine: Joins, at_once: bool
) -> None:
    host = serve()
    host.takes_only_branches(at_once=at_once)
    one = machine(host)
    saved(one, "half done")
    here = {ref: at for ref, at in one.refs().items() if not ref.startswith(TRACKING)}
    answer = one("sync.run")
    assert {ref: at for ref, at in one.refs().items() if not ref.startswith(TRACKING)} == here
    for ref in (STATE, LOCKS, SNAPSHOTS):
        assert item(answer, ref)["verdict"] == "refused"
    assert "codestrator.refPrefix" in item(answer, STATE)["detail"]
    assert (NOTES in host.refs()) is not at_once
    assert (item(answer, NOTES)["verdict"] == "pushed") is not at_once


def test_a_prefix_of_branches_suits_a_host_that_takes_only_those(serve: Serve, machine: Joins) -> None:
    host = serve()
    host.takes_only_branches()
    prefix = ("-c", "codestrator.refPrefix=refs/heads/codestrator/")
    one, two = machine(host, *prefix), machine(host, *prefix)
    one.epic("One's")
    saved(one, "half done")
    in_step(one, two)
    assert two.titles() == {"One's"} and one.digest() == two.digest()
    ours = {ref for ref in host.refs() if ref != "refs/heads/main"}
    assert {"refs/heads/codestrator/state", "refs/heads/codestrator/notes"} < ours
    assert all(ref.startswith("refs/heads/codestrator/") for ref in ours)
    assert two.git("branch", "--list", "codestrator/*") == ""


@pytest.mark.parametrize("setting", ["receive_advertiseAtomic=false", "receive_denyNonFastForwards=true"])
def test_a_host_without_atomic_pushes_or_rewinds_is_good_enough(serve: Serve, machine: Joins, setting: str) -> None:
    name, _, value = setting.partition("=")
    host = serve(**{name: value, "receive_denyDeletes": "true"})
    one, two = machine(host), machine(host)
    one.epic("One's")
    in_step(one, two)
    assert two.titles() == {"One's"} and one.digest() == two.digest()


def test_without_a_remote_it_is_refused(root: Actor) -> None:
    for method in ("sync.run", "sync.status"):
        with unchanged(root), pytest.raises(WrongState) as refused:
            root(method)
        assert "codestrator.remote" in str(refused.value.hint)


@pytest.mark.parametrize("name", ["upstream", "--upload-pack=touch pwned", "../elsewhere", "ext::touch pwned"])
def test_a_remote_that_git_does_not_know_is_refused_by_its_name(serve: Serve, machine: Joins, name: str) -> None:
    one = machine(serve())
    for method in ("sync.run", "sync.status"):
        with unchanged(one), pytest.raises(InvalidParams):
            one(method, remote=name)
    assert not list(one.folder.rglob("pwned"))


def test_a_host_that_is_gone_is_offline_and_nothing_moves(serve: Serve, machine: Joins) -> None:
    host = serve()
    one = machine(host)
    one.sync()
    one.epic("Later")
    host.hub.rename(host.folder / "away")
    for given in ({}, {"dry_run": True}, {"direction": "fetch"}):
        with unchanged(one), pytest.raises(Offline) as refused:
            one("sync.run", **given)
    assert refused.value.details["remote"] == "origin" and refused.value.retryable
    (host.folder / "away").rename(host.hub)
    assert one.sync()[STATE] == "pushed"


def test_a_password_that_is_known_is_used_and_a_wrong_one_asks_nobody(serve: Serve, machine: Joins) -> None:
    host = serve("http", auth="ada:secret")
    one = machine(host)
    assert one.sync(timeout_seconds=300)[STATE] == "pushed"  # more than may be waited counts as the most
    one.epic()
    for url in (host.url.replace("secret", "guess"), host.url.replace("ada:secret@", "")):
        one.git("remote", "set-url", "origin", url)
        with unchanged(one), pytest.raises(Offline):
            one("sync.run")
    one.git("remote", "set-url", "origin", host.url)
    assert one.sync()[STATE] == "pushed"


@pytest.mark.parametrize("given", [0, -1, "5", 1.5])
def test_a_time_that_is_none_is_refused(serve: Serve, machine: Joins, given: object) -> None:
    one = machine(serve())
    with unchanged(one), pytest.raises(InvalidParams):
        one("sync.run", timeout_seconds=given)


# What users set for their own fetches and pushes, each of which would do more than was asked, or less.
THEIRS = {
    "fetch.prune": "true",
    "fetch.pruneTags": "true",
    "remote.origin.prune": "true",
    "remote.origin.tagOpt": "--tags",
    "remote.origin.push": "refs/heads/main:refs/heads/pushed",
    "remote.pushDefault": "nowhere",
    "push.default": "matching",
    "push.followTags": "true",
    "push.gpgSign": "true",
    "push.recurseSubmodules": "only",
    "push.negotiate": "true",
    "push.useForceIfIncludes": "true",
    "fetch.recurseSubmodules": "true",
    "fetch.output": "compact",
    "color.ui": "always",
    "protocol.version": "0",
    "core.quotePath": "true",
}


@pytest.mark.parametrize("setting", [THEIRS, {"remote.origin.mirror": "true"}], ids=["many", "mirror"])
def test_what_users_set_for_their_own_pushes_changes_nothing(
    serve: Serve, machine: Joins, setting: dict[str, str]
) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    hooks = one.folder / "refusing"
    hooks.mkdir()
    for name in ("pre-push", "post-checkout", "pre-auto-gc"):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
        (hooks / name).chmod(0o755)
    for name, value in (setting | {"core.hooksPath": str(hooks)}).items():
        one.git("config", name, value)
    one.git("tag", "-a", "-m", "mine", "mine")
    host("tag", "theirs", "main")
    saved(one, "half done")
    two.epic("Two's")
    two.sync()
    found = one.sync()
    assert found[STATE] == found[LOCKS] == "merged" and found[NOTES] == "pushed"
    assert not {"refs/tags/theirs", "refs/codestrator/doctor"} & set(one.refs())
    ours = ("refs/codestrator/", NOTES)
    assert {ref for ref in host.refs() if not ref.startswith(ours)} == {"refs/heads/main", "refs/tags/theirs"}
    two.sync()
    assert one.digest() == two.digest() and one.sync()[STATE] == "up_to_date"
