"""The same state on several machines: fetched, joined with what is here, pushed, and only then made local."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from codestrator.calls import Flow
from codestrator.errors import InvalidParams, Offline, WrongState
from codestrator.methods import syncing
from codestrator.params import Params, Title

Name = Literal["state", "locks", "notes", "rescue"]
ALL: tuple[Name, ...] = ("state", "locks", "notes", "rescue")
MOST_SECONDS = 50


class Run(Params, frozen=True, kw_only=True):
    remote: Annotated[Title | None, Meta(description="default: git config codestrator.remote")] = None
    direction: Annotated[
        Literal["both", "fetch", "push"],
        Meta(description="fetch: joined here only; push: only where this side is ahead"),
    ] = "both"
    refs: Annotated[tuple[Name, ...] | None, Meta(description="default: all")] = None
    timeout_seconds: Annotated[int, Meta(ge=1, description="of each network call, at most 50")] | None = None
    dry_run: bool = False


class Status(Params, frozen=True, kw_only=True):
    remote: Annotated[Title | None, Meta(description="default: git config codestrator.remote")] = None


def run(flow: Flow, want: Run) -> dict[str, Any]:
    """Share state, locks, notes and rescued work with a remote; both sides are joined field by field.

    Never forces, never moves a branch of the user, never deletes a ref. Each ref has a verdict of its own: up_to_date,
    fetched, pushed, merged, republished, rewritten, diverged, refused, offline.
    """
    remote = remote_of(flow, want.remote)
    flow.world.notes.flush()
    seconds = min(want.timeout_seconds or flow.settings.sync_timeout, MOST_SECONDS)
    names = tuple(dict.fromkeys(want.refs)) if want.refs else ALL
    sync = syncing.Sync(flow, remote, names, direction=want.direction, seconds=seconds, most_seconds=MOST_SECONDS)
    if want.dry_run:
        items = sync.plan()
        return {"remote": remote, "items": items, "count": len(items), "rounds": 0}
    rounds = sync.run()
    items = sync.shown()
    if items and all(one["verdict"] == "offline" for one in items):
        raise Offline(
            str(items[0].get("detail")),
            hint=f"Try git ls-remote {remote} in a terminal, then call again.",
            remote=remote,
            after_seconds=seconds,
        )
    return {"remote": remote, "items": items, "count": len(items), "rounds": rounds}


def remote_of(flow: Flow, given: str | None) -> str:
    """The remote named, or the configured one."""
    remote = given or flow.settings.remote
    if remote is None:
        raise WrongState(
            "no remote is configured to share with, expected one",
            hint="Set one with git config codestrator.remote origin, or name it.",
            found="none",
            expected="git config codestrator.remote",
        )
    if remote.startswith("-") or not flow.world.remotes.known(remote):
        raise InvalidParams(
            f"git has no remote '{remote}', expected one of git remote",
            hint="Add it with git remote add, or name another"
            + ("." if given else ": git config codestrator.remote sets the one that is used."),
            field="remote",
            found=remote,
            expected="a remote's name",
        )
    return remote


def status(flow: Flow, want: Status) -> dict[str, Any]:
    """Tell how far this machine and the remote are apart, as of the last sync; asks no network."""
    remote = remote_of(flow, want.remote)
    known = syncing.remembered(flow, remote)
    items = [
        {"ref": ref, **syncing.apart(flow, remote, ref), "last_verdict": known.verdicts.get(ref)}
        for ref in syncing.REFS.values()
    ]
    return {
        "remote": remote,
        "authority": flow.settings.authority,
        "last_sync_at": beat.at if (beat := flow.world.live.beat(syncing.beat_of(remote))) else None,
        "items": items,
        "count": len(items),
    }
