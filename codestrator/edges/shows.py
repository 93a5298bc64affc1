"""The verbs that only show: `graph show`, a drawing; `rescue show`, what a snapshot holds."""

from collections.abc import Callable, Mapping
from typing import Any

import click

from codestrator.edges import derived, helping, values
from codestrator.edges.context import Context
from codestrator.errors import NotFound

Answer = Callable[[Context, str, Mapping[str, Any]], None]
SNAPSHOT = values.Id(("snap",))
WORDS = {"A": "added", "M": "changed", "D": "deleted", "T": "of another type"}


def commands(answer: Answer, out: Callable[[str], None]) -> dict[str, dict[str, click.Command]]:
    """By the noun that they stand below."""

    def graph(ctx: click.Context, /, form: str) -> None:
        from codestrator.edges import drawing, plain

        context = ctx.ensure_object(Context)
        found = drawing.drawn(context, form)
        out(plain.success("graph.show", found) if context.json else found["drawing"])

    def rescue(ctx: click.Context, /, snapshot_id: str) -> None:
        context = ctx.ensure_object(Context)
        answer(context, "rescue.show", snapshot(context, snapshot_id))

    kinds = click.Choice(("tree", "mermaid", "dot"))
    form = click.Option(["--format", "form"], type=kinds, default="tree", help="How to draw it; default: tree.")
    drawn = _command("show", graph, "Draw the planning graph.", form)
    held = _command(
        "show",
        rescue,
        "Show what a snapshot holds.",
        click.Argument(["snapshot_id"], metavar="ID", type=SNAPSHOT),
    )
    return {"graph": {"show": drawn}, "rescue": {"show": held}}


def _command(name: str, run: Callable[..., None], about: str, *params: click.Parameter) -> click.Command:
    return helping.Command(name, None, click.pass_context(run), [*params, *derived.common()], about)


def snapshot(context: Context, snapshot_id: str) -> dict[str, Any]:
    """A snapshot with its files, told against the commit that was checked out when it was taken."""
    from codestrator.records import Rescue

    tx = context.tx()
    found = [tx.require(Rescue, row.id) for row in tx.rows(Rescue) if row.id.startswith(snapshot_id)]
    if len(found) != 1:
        raise NotFound(
            f"{len(found)} snapshots begin with '{snapshot_id[:80]}', expected one",
            hint="List them with git codestrator rescue list.",
            kind="rescue",
            id=snapshot_id[:80],
        )
    (one,) = found
    if one.released_at:
        raise NotFound(
            f"'{one.id}' was released at {one.released_at}, as checkpoints are when they are old",
            hint="List those that are kept with git codestrator rescue list.",
            kind="rescue",
            id=one.id,
        )
    told = {"snapshot_id": one.id, "worktree_id": one.worktree_id, "branch": one.branch, "reason": one.reason}
    return {
        "items": _files(context, one.head, one.commit),
        **{name: value for name, value in told.items() if value},
        "at": one.created_at,
        "look": f"git diff {one.head[:12]} refs/codestrator/rescue/{one.worktree_id}/{one.id}",
        "restore": f"git codestrator rescue restore {one.id}",
    }


def _files(context: Context, head: str, commit: str) -> list[dict[str, str]]:
    words = context.world.git.run("diff-tree", "-r", "-z", "--no-renames", "--name-status", head, commit).split("\0")
    pairs = zip(words[0::2], words[1::2], strict=False)
    return [{"change": WORDS.get(change, change), "path": path} for change, path in pairs]
