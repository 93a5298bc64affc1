"""Manual pages, written from the commands themselves: one of the whole, one of each word that can follow it.

`pytest tests/edges/test_manual.py --rewrite` writes the files of `share/man`, which the wheel carries; without it the
tests refuse files that are out of step.
"""

import re
from collections.abc import Iterable, Iterator

import click

from codestrator import __version__
from codestrator.edges import cli, derived, examples, topics
from codestrator.edges.context import Context

NAME = "git-codestrator"
ABOUT = "coordinate parallel coding agents in one Git repository"
DESCRIPTION = (
    "Lets coding agents work side by side in one repository: each session in a worktree and on a branch of its own, "
    "with locks on files, a plan of cases and steps, checkpoints, messages, children in panes, and a review before "
    "anything lands. There is no server and no database: all of it is JSON, committed under hidden refs.",
    "An agent uses it through the tools of an MCP server, `git codestrator mcp`. For people and scripts each method "
    "of these tools is a command, `lock.acquire` is `git codestrator lock acquire`, and some verbs put several "
    "together. `-h` after any of them explains it in short. Data goes to standard output, talk to standard error.",
)
VALUES = (
    "Required values may be given in their order without the option's name. An id may be cut to any beginning that is "
    "unique. Paths are relative to the top of the repository. Lists repeat their option; JSON is JSON, `@file`, or `-` "
    "for standard input."
)
COMPLETION = (
    'bash, after git\'s own completion: `eval "$(git codestrator completion bash)"` in ~/.bashrc. '
    'zsh, after compinit: `eval "$(git codestrator completion zsh)"` in ~/.zshrc. '
    "fish: `git codestrator completion fish | source` in ~/.config/fish/config.fish."
)
HYPHEN = r"(?<![A-Za-z0-9])-"  # of an option; all others join two words
# What a terminal without Unicode cannot show.
PLAIN = {"…": "...", "→": "->", "\u00d7": "x"}


def pages(readme: str) -> dict[str, str]:
    """Every page by the name of its file; two of its tables the first page has from the README."""
    root = cli.program()
    ctx = click.Context(root, info_name=NAME, obj=Context())
    words = root.list_commands(ctx)
    found = {f"{NAME}.1": _page(NAME, ABOUT, _whole(ctx, root, words, readme))}
    for word in words:
        name = f"{NAME}-{word}"
        inner, command = _below(ctx, root, word)
        about = (command.help or "").split("\n")[0].rstrip(".")
        found[f"{name}.1"] = _page(name, about[:1].lower() + about[1:], _of(inner, command, word))
    return found


def _page(name: str, about: str, body: Iterable[str]) -> str:
    head = f'.TH "{code(name.upper())}" 1 "" "codestrator {__version__}" "Codestrator Manual"'
    lines = [
        r".\" Generated from the program; do not edit.",
        head,
        ".nh",
        ".ad l",
        *_section("Name"),
        f"{code(name)} \\- {text(about)}",
    ]
    return "\n".join([*lines, *body, ""])


def _whole(ctx: click.Context, root: click.Group, words: list[str], readme: str) -> Iterator[str]:
    yield from _section("Synopsis")
    yield f"\\fBgit codestrator\\fR [{italic('options')}] {italic('command')} [{italic('arguments')}]"
    yield from _section("Description")
    yield from _paragraphs([*DESCRIPTION, VALUES])
    yield from _section("Commands")
    for word in words:
        _, command = _below(ctx, root, word)
        yield from _entry(f"{bold(f'{NAME}-{word}')}(1)", (command.help or "").split("\n")[0])
    yield from _section("Options")
    yield from _options(ctx, root)
    yield from _section("Configuration")
    yield from _paragraphs(
        ["Settings of git, for one repository or for all of them: `git config codestrator.remote origin`."]
    )
    for name, (default, about) in topics.SETTINGS.items():
        yield from _entry(bold(f"codestrator.{name}"), about + (f" (default: {default})" if default else ""))
    yield from _section("Environment")
    for name, about in topics.ENVIRONMENT.items():
        yield from _entry(bold(name), about)
    yield from _section("Exit status")
    for status, about in topics.STATUSES.items():
        yield from _entry(bold(str(status)), about)
    yield from _section("Files")
    yield from _table(readme, "| ref or folder |")
    yield from _section("Completion")
    yield from _paragraphs([COMPLETION])
    yield from _examples("")
    yield from _section("Troubleshooting")
    yield from _table(readme, "| you see |")
    yield from _see_also("git(1)", "git-worktree(1)", "git-notes(1)", "tmux(1)")


def _of(ctx: click.Context, command: click.Command, word: str) -> Iterator[str]:
    leaves = [(path, inner, one) for path, inner, one in _leaves(ctx, command, word) if path != word]
    yield from _section("Synopsis")
    if not isinstance(command, derived.Noun) or command.bare:
        yield from _synopsis(ctx, command, word)
    for path, inner, one in leaves:
        yield from _synopsis(inner, one, path)
    yield from _section("Description")
    yield from _paragraphs((command.help or "").split("\n\n"))
    if isinstance(command, derived.Noun) and command.bare:
        yield from _paragraphs([f"Without a further word it does what `{_line(command.bare)}` does."])
    yield from _section("Options")
    yield from _options(ctx, command)
    common = {name for one in derived.common() for name in one.opts}
    for path, inner, one in leaves:
        yield f".SS {bold(f'git codestrator {path}')}"
        yield from _paragraphs([*(one.help or "").split("\n\n"), *([one.epilog] if one.epilog else [])])
        yield from _options(inner, one, without=common)
        yield from _calls(examples.of(path))
    yield from _examples(word)
    yield from _section("Exit status")
    yield from _paragraphs([f"As told in `{NAME}`(1)."])
    yield from _see_also(f"{NAME}(1)")


def _line(method: str) -> str:
    return f"git codestrator {method.replace('.', ' ').replace('_', '-')}"


def _below(ctx: click.Context, group: click.Group, word: str) -> tuple[click.Context, click.Command]:
    command = group.get_command(ctx, word)
    assert command is not None, word
    return click.Context(command, ctx, info_name=word, obj=ctx.obj), command


def _leaves(
    ctx: click.Context, command: click.Command, path: str
) -> Iterator[tuple[str, click.Context, click.Command]]:
    """The commands below a noun that do something, in their order, each with its words."""
    if not isinstance(command, click.Group) or (" " in path and isinstance(command, derived.Noun) and command.bare):
        yield path, ctx, command
    if isinstance(command, click.Group):
        for word in command.list_commands(ctx):
            inner, one = _below(ctx, command, word)
            yield from _leaves(inner, one, f"{path} {word}")


def _synopsis(ctx: click.Context, command: click.Command, path: str) -> Iterator[str]:
    tail = italic(" ".join(one.make_metavar(ctx) for one in command.params if isinstance(one, click.Argument)))
    yield f"{bold(f'git codestrator {path}')} [{italic('options')}] {tail}".rstrip()
    yield ".br"


def _options(ctx: click.Context, command: click.Command, without: Iterable[str] = ()) -> Iterator[str]:
    for one in command.get_params(ctx):
        record = one.get_help_record(ctx) if isinstance(one, click.Option) else None
        if record and "--help" not in one.opts and not set(one.opts) & set(without):
            yield from _entry(bold(record[0]), record[1])
    if not without:
        yield from _entry(bold("-h, --help"), "Explain the command in short, and exit.")


def _examples(path: str) -> Iterator[str]:
    yield from _section("Examples")
    yield from _calls(examples.of(path))


def _calls(calls: list[str]) -> Iterator[str]:
    if calls:
        yield from (".PP", ".nf", ".RS 4")
        yield from (_dotless(code(line)) for call in calls for line in examples.broken(call))
        yield from (".RE", ".fi")


def _table(readme: str, head: str) -> Iterator[str]:
    """The rows of a table of two columns, which begins with these words."""
    for line in readme.partition(head)[2].partition("|---|---|\n")[2].splitlines():
        if not line.startswith("|"):
            return
        left, _, right = line.strip("| ").partition(" | ")
        yield from _entry(text(left), right)


def _see_also(*names: str) -> Iterator[str]:
    yield from _section("See also")
    yield ", ".join(bold(name.removesuffix("(1)")) + "(1)" for name in names)


def _section(title: str) -> Iterator[str]:
    yield f".SH {title.upper()}"


def _entry(term: str, about: str) -> Iterator[str]:
    yield from (".TP", _dotless(term), _dotless(text(about.replace("\n", " ").strip())) or "\\&")


def _paragraphs(paragraphs: Iterable[str]) -> Iterator[str]:
    for one in paragraphs:
        if words := " ".join(one.split()):
            yield from (".PP", _dotless(text(words)))


def text(words: str) -> str:
    """Words of a sentence; what stands between backticks becomes bold."""
    parts = re.split(r"`([^`]*)`", words)
    return "".join(bold(part) if number % 2 else _escaped(part, HYPHEN) for number, part in enumerate(parts))


def code(words: str) -> str:
    """Words to be typed: each hyphen is the one of the keyboard."""
    return _escaped(words, "-")


def bold(words: str) -> str:
    return f"\\fB{code(words)}\\fR"


def italic(words: str) -> str:
    return f"\\fI{code(words)}\\fR"


def _escaped(words: str, keyed: str) -> str:
    """`keyed`: which hyphens are those of the keyboard."""
    for character, instead in PLAIN.items():
        words = words.replace(character, instead)
    words.encode("ascii")
    for character, instead in (
        ("\\", "\\e"),
        ('"', "\\(dq"),
        ("'", "\\(aq"),
        ("`", "\\(ga"),
        ("^", "\\(ha"),
        ("~", "\\(ti"),
        ("|", "|\\:"),  # a line may break there
    ):
        words = words.replace(character, instead)
    return re.sub(keyed, r"\\-", words)


def _dotless(line: str) -> str:
    """A line that roff does not take for a request."""
    return f"\\&{line}" if line[:1] in (".", "'") else line
