"""`git codestrator`: the verbs, and every method of the table as a command.

It parses, calls and prints. Nothing heavy is imported before it is needed: help of the whole program needs only the
table.
"""

import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from codestrator import __version__, table
from codestrator.edges import completion as completing
from codestrator.edges import derived, doctor, helping, setup, shows, values
from codestrator.edges.context import Context
from codestrator.edges.resume import Resume
from codestrator.errors import EXIT_STATUS, CodestratorError, InvalidParams

PROGRAM = "git-codestrator"
FILE = click.Path()
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
TIMED_OUT, INTERRUPTED = 5, 130
VERBS: dict[str, click.Command] = {}


class Root(helping.Group):
    """The verbs, then the nouns of the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        shown = [name for name, one in VERBS.items() if not one.hidden]
        return [*shown, *(noun for noun in derived.nouns() if noun not in VERBS)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in VERBS:
            return VERBS[name]
        if name in table.METHODS:
            return derived.command(name, answer)
        return derived.Noun((name,), answer) if name in derived.nouns() else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None:
            derived.refuse_unknown(ctx, args[0], [*self.list_commands(ctx), *table.METHODS])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Without making any command of a method: they would import what none of this needs."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(90)) for name, one in VERBS.items() if not one.hidden])
        with formatter.section("Methods, each a command"):
            lines = ((noun, ", ".join(derived.words(noun))) for noun in derived.nouns())
            formatter.write_dl([one for one in lines if one[1]])


def verb(
    name: str, *params: click.Parameter, hidden: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function that is given the context and its own parameters."""

    def make(function: Callable[..., None]) -> Callable[..., None]:
        def run(ctx: click.Context, /, **given: Any) -> None:
            function(ctx.ensure_object(Context), **given)

        everything = [*params, *derived.common()]
        noun, _, word = name.rpartition(" ")
        place = derived.BELOW.setdefault(noun, {}) if noun else VERBS
        place[word] = helping.Command(word, None, click.pass_context(run), everything, function.__doc__, hidden=hidden)
        return function

    return make


def answer(context: Context, method: str, result: Mapping[str, Any]) -> None:
    """Print a result for whoever reads it; a wait that ended without what it waited for has its own status."""
    from codestrator.edges import plain

    if context.json:
        _out(plain.success(method, result))
    elif sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        from codestrator.edges import screens

        screens.show(method, result, coloured=context.coloured())
    else:
        for line in plain.render(method, result):
            _out(line)
    if method == "session.open" and "session_root_worktree" in result["session_context"]:
        found = result["session_context"]
        place, session_id = found["session_root_worktree"]["path"], found["session"]["id"]
        _tell(f"commands given in {place} speak for {session_id}; elsewhere, name it with --session {session_id}")
    if status := _status_of(method, result):
        raise click.exceptions.Exit(status)


def _status_of(method: str, result: Mapping[str, Any]) -> int:
    """What a script is told of a result that is no error and yet not what was wished for."""
    if result.get("timed_out") is True:
        return TIMED_OUT
    if method == doctor.METHOD:
        return doctor.status(result)
    found = {one["verdict"] for one in result["items"]} if method == "sync.run" else set()
    if "diverged" in found:
        return EXIT_STATUS["diverged"]
    return EXIT_STATUS["offline"] if found & {"refused", "offline"} else 0


def _out(line: str) -> None:
    try:
        sys.stdout.write(line + "\n")
    except BrokenPipeError:
        _let_go()
        raise click.exceptions.Exit(0) from None


def _tell(line: str) -> None:
    from codestrator.edges import plain

    sys.stderr.write(plain.visible(line) + "\n")


def _let_go() -> None:
    """Whoever read this has seen enough: that is no failure, and Python's own flush at the end must not make it one."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@verb("status", click.Option(["--check"], is_flag=True, help="Exit 6 if something needs a person."))
def status(context: Context, check: bool) -> None:
    """One screen: who works where on what, what needs you, what to call next."""
    from codestrator.edges import verbs

    found = verbs.status(context)
    if check and context.json:
        verbs.check(found)
    answer(context, "status", found)
    if check:
        verbs.check(found)


@verb(
    "watch",
    click.Option(["--interval"], type=click.IntRange(1, 3600), default=5, help="Seconds between looks at least."),
)
def watch(context: Context, interval: int) -> None:
    """The status as it changes: a screen with panels; in a pipe, what `status` prints, at each change."""
    from codestrator.edges import watch

    gc.enable()
    raise click.exceptions.Exit(watch.run(context, interval))


@verb("next")
def following(context: Context) -> None:
    """The next step, or the cases that are ready."""
    from codestrator.edges import verbs

    found = verbs.following(context)
    answer(context, context.method, found)


TOKENS = click.Option(["--tokens"], type=int, metavar="N", help="At most so many tokens (300 to 8000).")


@verb("brief", TOKENS, click.Option(["--hook"], is_flag=True, hidden=True))
def brief(context: Context, tokens: int | None, hook: bool) -> None:
    """Where was I: for a person or an agent, within a budget of tokens."""
    if hook:
        from codestrator.edges.codex import conversations

        return conversations.tell(context, sys.stdin, _out)
    answer(context, "work.brief", context.call("work.brief", {"token_budget": tokens} if tokens is not None else {}))


VERBS["resume"] = Resume(answer)
VERBS["doctor"] = doctor.Doctor(answer)
VERBS.update(setup.commands(_out))
derived.BELOW.update(shows.commands(answer, _out))


@verb(
    "undo",
    click.Argument(["count"], type=click.IntRange(1, 20), default=1, metavar="[N]"),
    click.Option(["--yes"], is_flag=True, help="Do not ask."),
    click.Option(["--dry-run"], is_flag=True, help="Only show what would be taken back."),
)
def undo(context: Context, count: int, yes: bool, dry_run: bool) -> None:
    """Take back the session's last operations, after showing them."""
    from codestrator.edges import verbs

    shown = verbs.preview(context, count)
    if dry_run:
        answer(context, "journal.undo", shown)
        return
    if not yes:
        if context.json or not sys.stdin.isatty():
            raise InvalidParams(
                "'--yes' is missing, and without a terminal nobody can be asked",
                hint="Look with --dry-run first.",
                field="yes",
                found="nothing",
                expected="--yes",
            )
        answer(context, "journal.undo", shown)
        click.confirm("Take this back?", abort=True, err=True)
    answer(context, "journal.undo", verbs.undo(context, shown))


@verb("land", click.Argument(["land_id"], required=False, metavar="[ID]", type=values.Id(("land",))))
def land(context: Context, land_id: str | None) -> None:
    """Land the session's approved work on its target branch."""
    from codestrator.edges import verbs

    answer(context, "merge.main.land", verbs.land(context, land_id))


@verb(
    "report",
    click.Option(
        ["-o", "--output"], metavar="FILE", type=FILE, help="Where to; '-' is standard output, as is any pipe."
    ),
    click.Option(["--force"], is_flag=True, help="Replace a file that is no report."),
)
def report(context: Context, output: str | None, force: bool) -> None:
    """One HTML page of the whole state, in a file of its own."""
    from codestrator.edges import report

    if told := report.write(context, output, force):
        answer(context, "report", told)


@verb("demo", click.Option(["--keep"], is_flag=True, help="Keep the clone to look around in it."))
def demo(context: Context, keep: bool) -> None:
    """Two sessions at work in a throw-away clone."""
    from codestrator.edges import demo

    gc.enable()
    demo.run(keep=keep, source=context.folder)


@verb("runner", click.Argument(["thread_id"]), hidden=True)
def runner(context: Context, thread_id: str) -> None:
    """Run the agent of a child; thread.child.spawn starts it."""
    from codestrator import runner

    gc.enable()
    raise click.exceptions.Exit(runner.run(context.folder, thread_id))


@verb(
    "mcp",
    click.Option(["--thread-file"], metavar="FILE", type=FILE, help="Serve one child, by its private file."),
)
def mcp(context: Context, thread_file: str | None) -> None:
    """Serve the tools of MCP on standard input and output."""
    from codestrator.edges import server

    gc.enable()  # only now: looking for garbage would be an eighth of the start
    server.serve(context.folder, Path(thread_file) if thread_file else None)


@verb("completion", click.Argument(["shell"], type=click.Choice(("bash", "zsh", "fish"))))
def completion(context: Context, shell: str) -> None:
    """Print the completion script of a shell.

    It is turned on by `eval "$(git codestrator completion bash)"` in ~/.bashrc, the same with zsh in ~/.zshrc after
    compinit, and `git codestrator completion fish | source` in ~/.config/fish/config.fish.
    """
    sys.stdout.write(completing.script(shell))


def program() -> click.Group:
    """The whole command."""
    text = "Coordinate parallel coding agents in one Git repository."
    version = click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."
    )
    return Root(PROGRAM, params=[*derived.common(), version], help=text, context_settings=SETTINGS)


def _version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        _out(f"git-codestrator {__version__}")
        ctx.exit()


def run(arguments: Sequence[str]) -> int:
    """One command line; the exit status. Refusals are told on standard error, or as JSON on standard output."""
    context = Context()
    if completing.VARIABLE in os.environ:
        return completing.answer(program(), context, PROGRAM, arguments)
    try:
        done = program().main(list(arguments), PROGRAM, standalone_mode=False, obj=context)
        sys.stdout.flush()
        return done if isinstance(done, int) else 0
    except CodestratorError as error:
        return _refuse(context, error)
    except click.ClickException as error:
        return _refuse_usage(context, error, "--json" in arguments)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        _let_go()
        return 0
    except Exception as error:
        return _refuse(context, context.unforeseen(error))
    finally:
        context.close()


def _refuse(context: Context, error: CodestratorError) -> int:
    from codestrator.edges import hints, plain

    if context.json:
        _out(plain.refusal(context.method, error.as_dict()))
        return error.exit_status
    _tell(f"{error.code}: {error.message}")
    if error.hint:
        _tell(hints.in_shell(error.hint))
    for one in error.details.get("candidates", ()):
        _tell(f"  {one.get('id')}  {one.get('title')}")
    return error.exit_status


def _refuse_usage(context: Context, error: click.ClickException, as_json: bool) -> int:
    """What click refuses has the form of any other refusal."""
    context.json = context.json or as_json
    where = error.ctx if isinstance(error, click.UsageError) else None
    message = error.format_message().rstrip(".")
    hint = f"Run {where.command_path.replace('-', ' ', 1)} -h." if where else None
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and not context.json:
        sys.stderr.write(error.format_message() + "\n")
        return error.exit_code
    return _refuse(context, InvalidParams(message[:1].lower() + message[1:], hint=hint))


def main() -> None:
    """Run the command line of this process, and end it."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    status = run(sys.argv[1:])
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)  # everything is closed and written; taking ten thousand rows apart would only be waited for
