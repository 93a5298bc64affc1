"""The verbs that install and remove: `init`, `uninstall`, and the hidden one that installed hooks call."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from codestrator.edges import derived, helping, values
from codestrator.edges.context import Context
from codestrator.errors import Forbidden

Out = Callable[[str], None]
DRY_RUN = ["--dry-run"]


def commands(out: Out) -> dict[str, click.Command]:
    """The commands, which print through `out`."""

    def command(
        name: str, does: Callable[..., None], *params: click.Parameter, hidden: bool = False
    ) -> dict[str, click.Command]:
        def run(ctx: click.Context, /, **given: Any) -> None:
            does(ctx.ensure_object(Context), out, **given)

        everything = [*params, *derived.common()]
        made = helping.Command(name, None, click.pass_context(run), everything, does.__doc__, hidden=hidden)
        return {name: made}

    return (
        command(
            "init",
            _init,
            click.Option(DRY_RUN, is_flag=True, help="Only show what would be touched."),
            click.Option(["--codex"], is_flag=True, help="Also set Codex up in this worktree."),
            click.Option(["--no-hooks"], is_flag=True, help="Leave git's hooks alone."),
            click.Option(["--remote"], metavar="NAME", type=values.Remote(), help="Share with it; it is tried first."),
            click.Option(["--authority"], type=click.Choice(("local", "remote")), help="Who grants leases."),
        )
        | command(
            "uninstall",
            _uninstall,
            click.Option(DRY_RUN, is_flag=True, help="Only show what would be removed, and what stays."),
            click.Option(["--force"], is_flag=True, help="Although sessions live."),
            click.Option(["--purge"], is_flag=True, help="Export the state into a file here, then delete it too."),
        )
        | command(
            "hook",
            _hook,
            click.Option(["--git-dir"], metavar="FOLDER"),
            click.Argument(["name"]),
            click.Argument(["arguments"], nargs=-1),
            hidden=True,
        )
    )


def _init(
    context: Context,
    out: Out,
    *,
    dry_run: bool,
    codex: bool,
    no_hooks: bool,
    remote: str | None,
    authority: str | None,
) -> None:
    """Make this repository ready: state, settings, hooks; everything is shown before it is touched."""
    from codestrator.edges import install

    _check_seat(context, "init")
    wanted = install.Wanted(remote, authority, not no_hooks, codex)
    planned = install.plan(context, wanted)
    context.method = "init"
    _show(context, out, planned, "init would touch" if dry_run else "init touches")
    if not dry_run:
        planned |= install.init(context, wanted)
        context.method = "init"
    _say(context, out, planned.get("warnings", []))
    if context.json:
        _answer(out, "init", planned)
    elif not dry_run:
        out(f"ready: state of {planned['machine']}, hooks {planned['hooks']}")
        _say(context, out, [f"next: {one}" for one in planned.get("codex", ())])


def _uninstall(context: Context, out: Out, *, dry_run: bool, force: bool, purge: bool) -> None:
    """Take away what init placed; refs, worktrees and branches stay, and how to remove them is shown."""
    from codestrator.edges import uninstall

    _check_seat(context, "uninstall")
    planned = uninstall.plan(context, purge=purge)
    if not (force or dry_run):
        uninstall.check_quiet(context)
    context.method = "uninstall"
    _show(context, out, planned, "uninstall would remove" if dry_run else "uninstall removes")
    if not dry_run:
        planned |= uninstall.run(context, purge=purge, export=planned.get("export"))
        context.method = "uninstall"
        _say(context, out, planned["warnings"])
    if context.json:
        _answer(out, "uninstall", planned)
        return
    for one in planned["stays"]:
        out(f"stays: {_cell(one['what'])}; see to it with: {_cell(one['call'])}")


def _check_seat(context: Context, method: str) -> None:
    """Refuse an agent that works for a root: what it would change is everybody's."""
    context.method = method
    seat = context.seat
    if context.unproven:
        raise context.unproven
    if seat.kind in ("child", "bystander"):
        role, hint = seat.role, "Ask the root: call inbox.send with receiver_thread_id 'root'."
        if seat.kind == "bystander":
            role, hint = "bystander", "Go to a folder where no child works."
        raise Forbidden(
            f"role '{role}' may not {method}, needs 'root'", hint=hint, role=role, method=method, needs="root"
        )


def _hook(context: Context, out: Out, *, git_dir: str | None, name: str, arguments: tuple[str, ...]) -> None:
    """Do what a git hook is for; the files that `init` places call it."""
    from codestrator.edges import hooks

    status, said = hooks.run(context, name, arguments, git_dir)
    if said:
        out(_cell(said))
    raise click.exceptions.Exit(status)


def _show(context: Context, out: Out, planned: Mapping[str, Any], head: str) -> None:
    """What is about to be touched; with --json on standard error, because there is one answer on standard output."""
    lines = [f"  {_cell(one['what'])}: {_cell(one['does'])}" for one in planned["touches"]] or ["  nothing"]
    for line in [f"{head}:", *lines]:
        if context.json:
            sys.stderr.write(line + "\n")
        else:
            out(line)
    sys.stdout.flush()
    head = "git takes its hooks from a folder of yours: add to"
    _say(context, out, [f"{head} {one['file']}: {one['line']}" for one in planned.get("by_hand", ())])


def _say(context: Context, out: Out, lines: list[str]) -> None:
    if not context.json:
        for line in lines:
            out(_cell(line))


def _answer(out: Out, method: str, result: Mapping[str, Any]) -> None:
    from codestrator.edges import plain

    out(plain.success(method, result))


def _cell(text: str) -> str:
    from codestrator.edges import plain

    return plain.cell(text)
