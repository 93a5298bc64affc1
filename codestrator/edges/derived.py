"""Commands read off the table: a method `a.b.c` is `a b c`, its parameters are the options.

Options are made when a method's own command is asked for, so that no other command waits for what they import.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codestrator import table
from codestrator.edges import helping, values
from codestrator.edges.context import Context
from codestrator.errors import InvalidParams

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from codestrator.params import Shape

LIST = "list"
# What a bare noun does that has nothing to list.
BARE = {"sync": "sync.run", "handoff": "handoff.offer"}
FOLDER = click.Path(path_type=Path, file_okay=False)
Answer = Callable[[Context, str, Mapping[str, Any]], None]
BELOW: dict[str, dict[str, click.Command]] = {}  # verbs that stand among the methods of a noun


def nouns() -> tuple[str, ...]:
    """The first words of the methods, in the order of the table."""
    return tuple(dict.fromkeys(name.split(".")[0] for name in table.METHODS))


def words(*path: str) -> tuple[str, ...]:
    """The words that may follow those of `path`, as a command line has them."""
    start = ".".join((*path, ""))
    shown = (name for name in table.METHODS if name.startswith(start))
    found = (name[len(start) :].split(".")[0].replace("_", "-") for name in shown)
    return tuple(dict.fromkeys([*found, *BELOW.get(".".join(path), ())]))


def common() -> list[click.Parameter]:
    """The options that every command takes; each is kept in the context, wherever on the line it stands."""

    def keep(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        given = ctx.get_parameter_source(parameter.name or "") != click.core.ParameterSource.DEFAULT
        if value is not None and given:
            setattr(ctx.ensure_object(Context), parameter.name or "", value)

    def option(*names: str, **how: Any) -> click.Option:
        return click.Option(names, expose_value=False, callback=keep, **how)

    return [
        option("--json", is_flag=True, help="Print the result or the refusal as one JSON object."),
        option("--session", metavar="ID", type=values.Id(("ses",)), help="The session to speak for."),
        option("--thread", metavar="ID", type=values.Id(("thr",)), help="The thread to speak for."),
        option("--repo", metavar="FOLDER", type=FOLDER, help="A folder of the repository."),
        option("--color", type=click.Choice(("auto", "always", "never")), help="When to use colour."),
    ]


def refuse_unknown(ctx: click.Context, word: str, known: list[str]) -> None:
    """Say that there is no such command, and which is nearest; completion only finds none."""
    if ctx.resilient_parsing:
        return
    from difflib import get_close_matches

    close = get_close_matches(word, known, 1)
    tail = f"nearest is '{close[0]}'" if close else "expected one of those that -h lists"
    ctx.fail(f"unknown command '{word}', {tail}")


class Noun(helping.Group):
    """The methods that begin with the same words; without a further word it lists, if it can."""

    def __init__(self, path: tuple[str, ...], answer: Answer) -> None:
        self.path = path
        self.answer = answer
        name = ".".join(path)
        listing = f"{name}.{LIST}"
        self.bare = name if name in table.METHODS else BARE.get(name, listing if listing in table.METHODS else "")
        has_bare = bool(self.bare)
        super().__init__(
            path[-1].replace("_", "-"),
            invoke_without_command=has_bare,
            no_args_is_help=not has_bare,
            params=[*(_options(self.bare) if self.bare in (name, BARE.get(name)) else ()), *common()],
            help=_about(path),
            short_help=", ".join(words(*path)),
            callback=click.pass_context(self._bare),
        )

    def _bare(self, ctx: click.Context, /, **given: Any) -> None:
        if ctx.invoked_subcommand is None:
            context = ctx.ensure_object(Context)
            self.answer(context, self.bare, context.call(self.bare, gathered(self.bare, given)))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(words(*self.path))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if verb := BELOW.get(".".join(self.path), {}).get(name):
            return verb
        path = (*self.path, name.replace("-", "_"))
        if any(one.startswith(".".join((*path, ""))) for one in table.METHODS):
            return Noun(path, self.answer)
        full = ".".join(path)
        return command(full, self.answer) if full in table.METHODS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None:
            refuse_unknown(ctx, args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


def _about(path: tuple[str, ...]) -> str:
    if (name := ".".join(path)) in table.METHODS:
        from codestrator import registry

        return f"{registry.summary(name)}\n\n{registry.details(name)}".strip()
    from codestrator.edges import topics

    return topics.NOUNS[" ".join(path).replace("_", "-")]


def command(name: str, answer: Answer) -> click.Command:
    """The command of one method."""

    def run(ctx: click.Context, /, **given: Any) -> None:
        context = ctx.ensure_object(Context)
        answer(context, name, context.call(name, gathered(name, given)))

    word = name.rpartition(".")[2].replace("_", "-")
    from codestrator import registry

    given = click.Argument(
        ["values"],
        nargs=-1,
        metavar=" ".join(f"[{one.upper()}]" for one in _required(name)),
        shell_complete=_next_value(name),
    )
    params = [given, *_options(name), *common()]
    text = f"{registry.summary(name)}\n\n{registry.details(name)}".strip()
    return helping.Command(word, None, click.pass_context(run), params, text, short_help=registry.summary(name))


def _next_value(name: str) -> Callable[[click.Context, click.Parameter, str], list["CompletionItem"]]:
    """What completion offers for a value without its name: that of the first required parameter still open."""

    def offer(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list["CompletionItem"]:
        from codestrator import registry

        given = {one for one, value in ctx.params.items() if value not in (None, ())}
        still = [shape for shape in registry.shapes(name) if shape.required and shape.name not in given]
        rest = still[len(ctx.params.get("values") or ()) :]
        return _option(name, rest[0]).type.shell_complete(ctx, parameter, incomplete) if rest else []

    return offer


def _required(name: str) -> list[str]:
    from codestrator import registry

    return [shape.name for shape in registry.shapes(name) if shape.required]


def _options(name: str) -> list[click.Parameter]:
    from codestrator import registry

    found: list[click.Parameter] = [_option(name, shape) for shape in registry.shapes(name)]
    method = table.METHODS[name]
    if method.at:
        found.append(click.Option(["--at"], metavar="OP", help="Answer as of that operation."))
    if method.kind != "read":
        found.append(click.Option(["--idempotency-key"], metavar="TEXT", help="The same key repeats nothing."))
    found.append(
        click.Option(["--params", "all_params"], metavar="JSON|-", type=values.Json(), help="All parameters at once.")
    )
    return found


def _option(method: str, shape: "Shape") -> click.Option:
    inner = shape.item if shape.form == "list" and shape.item else shape
    name, text = shape.name.replace("_", "-"), "; ".join(_notes(method, shape, inner))
    if shape.form == "bool":
        return click.Option([f"--{name}/--no-{name}", shape.name], default=None, help=text)
    kind = values.OF_NAME.get(shape.name) or values.OF_FORM.get(inner.form)
    metavar: str | None = inner.type_text if inner.form == "object" else inner.type_text.upper()
    if inner.form == "enum":
        kind, metavar = click.Choice(inner.choices, case_sensitive=False), None
    elif inner.form == "id":
        kind = values.Id(inner.prefixes)
    return click.Option(
        [f"--{name}", shape.name], type=kind, metavar=metavar, multiple=shape.form == "list", default=None, help=text
    )


def _notes(method: str, shape: "Shape", inner: "Shape") -> list[str]:
    """What the help says of a parameter: its meaning, whether it is needed, its default and its limits."""
    from codestrator import text
    from codestrator.edges import topics

    found = [shape.description or topics.parameter(method, shape.name)]
    found += ["required"] if shape.required else []
    if isinstance(shape.default, bool):
        found.append(f"default: {'yes' if shape.default else 'no'}")
    elif shape.default not in (None, (), "", {}):
        found.append(f"default: {shape.default}")
    if inner.form == "title" and not inner.size:
        found.append(f"at most {text.TITLE_CHARACTERS} characters")
    elif inner.form in ("text", "title"):
        found.append(f"at most {(inner.size or text.MESSAGE_BYTES) // 1024} KiB")
    return [*(one for one in found if one), *(["may be repeated"] if shape.form == "list" else [])]


def gathered(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a call: `--params`, options over them, and values without names for what is still required."""
    from codestrator import registry

    found = given.get("all_params")
    if found is not None and not isinstance(found, dict):
        raise InvalidParams("'--params' is no JSON object, expected one", field="params", expected="an object")
    fields: dict[str, Any] = dict(found or {})
    for key, value in given.items():
        if key not in ("all_params", "values") and value is not None and value != ():
            fields[key] = list(value) if isinstance(value, tuple) else value
    open_shapes = [shape for shape in registry.shapes(name) if shape.required and shape.name not in fields]
    unnamed = list(given.get("values") or ())
    for shape, value in zip(open_shapes, unnamed, strict=False):
        given_as = [value] if shape.form == "list" else value
        fields[shape.name] = _option(name, shape).type_cast_value(click.get_current_context(), given_as)
        if shape.form == "list":
            fields[shape.name] = list(fields[shape.name])
    if extra := unnamed[len(open_shapes) :]:
        raise InvalidParams(
            f"unexpected value '{extra[0][:80]}' for {name}, expected options",
            hint=f"Run git codestrator {name.replace('.', ' ').replace('_', '-')} -h.",
            field="values",
            found=extra[0][:80],
        )
    return fields
