"""The hint of a refusal names a call that works: its method or verb, its options, its values."""

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import codestrator
from codestrator import registry, table
from codestrator.edges import cli, derived, hints
from codestrator.edges.context import Context
from codestrator.errors import EXIT_STATUS, CodestratorError
from tests.actors import Actor
from tests.conftest import git
from tests.methods.test_worktrees import commit

ROOT = Path(codestrator.__file__).parent
ANY = "ses-0000000000"  # what stands in a hint for a value that only a run knows
COMMAND = "git codestrator "
NOUNS = "|".join(derived.nouns())
METHOD = re.compile(rf"(?<![\w./-])(?:{NOUNS})(?:\.[a-z_]+)+")
PARAMETERS = {shape.name: shape for name in table.METHODS for shape in registry.shapes(name)}
FIELDS = {field.name for shape in PARAMETERS.values() for one in (shape, shape.item) if one for field in one.fields}


def texts(node: ast.AST) -> Iterator[str]:
    """The texts that an expression may become, with `ANY` for what is put into them."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(part.value if isinstance(part, ast.Constant) else ANY for part in parts)  # type: ignore[misc]
        case ast.IfExp(body=one, orelse=other) | ast.BinOp(left=one, right=other):
            yield from (*texts(one), *texts(other))
        case ast.BoolOp(values=several) | ast.Dict(values=several):
            for one in several:
                yield from texts(one)


def found_hints() -> Iterator[tuple[str, str]]:
    """Every text of the sources that tells what to do next, with its place."""
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            value: ast.AST | None = None
            if (isinstance(node, ast.keyword) and node.arg == "hint") or (
                isinstance(node, ast.Assign) and any("hint" in ast.unparse(one).lower() for one in node.targets)
            ):
                value = node.value
            elif isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in parts:
                value = node if next(texts(node), "").startswith(COMMAND) else None
            for text in texts(value) if value else ():
                yield f"{path.relative_to(ROOT)}:{node.lineno if hasattr(node, 'lineno') else 0}", text


HINTS = list(found_hints())


def calls(text: str) -> list[list[str]]:
    """The command lines in a text, as words; each ends with the text, or where a sentence has a mark."""
    found = re.findall(rf"{COMMAND}(.+?)(?=[.,;:)`](?:\s|$)|$| {COMMAND})", text)
    return [words for line in found if (words := shlex.split(line))[0] != ANY]


def parsed(words: list[str]) -> tuple[click.Command, dict[str, Any]]:
    """The command that these words name, with what they give it; click refuses what it does not know."""
    ctx = click.Context(cli.program(), info_name=cli.PROGRAM, obj=Context(), help_option_names=["-h", "--help"])
    command: click.Command = ctx.command
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        below = command.get_command(ctx, words[0])
        assert below is not None, f"no command {words[0]}"
        ctx, command, words = click.Context(below, ctx, info_name=words[0]), below, words[1:]
    inner = command.make_context(ctx.info_name, list(words), parent=ctx.parent)
    return command, {**inner.params, "": inner}


def method_of(command: click.Command, ctx: click.Context) -> str:
    if isinstance(command, derived.Noun):
        return command.bare
    return ".".join(ctx.command_path.split()[1:]).replace("-", "_")


def test_hints_were_found() -> None:
    assert len(HINTS) > 280
    assert sum(bool(METHOD.search(text)) for _, text in HINTS) > 100
    assert sum(bool(calls(text)) for _, text in HINTS) > 30


def test_every_command_that_a_hint_names_can_be_typed() -> None:
    wrong = []
    for place, text in HINTS:
        for words in calls(text):
            try:
                command, given = parsed(words)
                name = method_of(command, given[""])
                if name in table.METHODS and not name.startswith("doctor"):
                    with given.pop(""):
                        fields = derived.gathered(name, given)
                    missing = [one.name for one in registry.shapes(name) if one.required and one.name not in fields]
                    assert missing == [], f"needs {missing}"
            except (click.ClickException, CodestratorError, AssertionError) as error:
                wrong.append(f"{place} {words}: {getattr(error, 'message', error)}")
    assert wrong == []


def test_a_method_in_a_hint_is_at_a_shell_the_command_that_it_is_there() -> None:
    wrong = []
    for place, text in HINTS:
        shown = hints.in_shell(text)
        if METHOD.search(shown):
            wrong.append(f"{place}: {shown}")
        for words, option in re.findall(rf"{COMMAND}([a-z -]*[a-z]) (--[a-z-]+)", shown if shown != text else ""):
            ctx = click.Context(cli.program(), obj=Context())
            below: click.Command | None = ctx.command
            for word in words.split():
                assert isinstance(below, click.Group)
                below = below.get_command(ctx, word)
            options = [one for param in below.params for one in (*param.opts, *param.secondary_opts)] if below else []
            if option not in options:
                wrong.append(f"{place}: {shown}: no {option}")
    assert wrong == []


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        ("Call workspace.init.", "Run git codestrator init."),
        ("Wait in line: call lock.acquire with wait_seconds 50.",
         "Wait in line: run git codestrator lock acquire --wait-seconds 50."),
        ("Call handoff.offer with withdraw true first.", "Run git codestrator handoff offer --withdraw first."),
        ("Call thread.child.list with include_root false.", "Run git codestrator thread child list --no-include-root."),
        ("call inbox.send with receiver_thread_id 'root'.",
         "run git codestrator inbox send --receiver-thread-id 'root'."),
        ("Begin another case, see task.ready.", "Begin another case, see git codestrator task ready."),
        ("Call journal.list with document for who changed it.",
         "Run git codestrator journal list --document for who changed it."),
        ("Look at src/task.get.py.", "Look at src/task.get.py."),
    ],
)  # fmt: skip
def test_a_hint_at_a_shell(hint: str, shown: str) -> None:
    assert hints.in_shell(hint) == shown


def test_every_method_and_parameter_that_a_hint_names_exists() -> None:
    wrong = []
    for place, text in HINTS:
        for found in METHOD.finditer(text):
            if found[0] not in table.METHODS:
                wrong.append(f"{place}: no method {found[0]}")
                continue
            shapes = {shape.name: shape for shape in registry.shapes(found[0])}
            told = re.match(r" (?:with |in )?(?:an? |the )?([a-z_]+)(?: '?([a-z_-]+)'?)?", text[found.end() :])
            if told and text[found.end() :].startswith(" with ") and told[1] not in shapes:
                wrong.append(f"{place}: {found[0]} has no {told[1]}")
            elif told and told[1] in shapes and shapes[told[1]].form in ("enum", "bool") and told[2]:
                choices = shapes[told[1]].choices or ("true", "false")
                if told[2] not in choices:
                    wrong.append(f"{place}: {told[1]} of {found[0]} is never {told[2]}")
        words = re.findall(r"(?<![\w./-])[a-z]+(?:_[a-z]+)+(?![\w./(])", METHOD.sub("", text))
        named = {word for word in words if word not in PARAMETERS and word not in FIELDS}
        flags = {word for word in re.findall(r"(\w+) (?:true|false)\b", text) if word not in PARAMETERS}
        wrong += [f"{place}: nothing is called {word}" for word in sorted((named | flags) - VALUES)]
    assert wrong == []


# Names in hints that are no parameters: values of some, and settings of others.
VALUES = {choice for shape in PARAMETERS.values() for choice in shape.choices} | {
    "common_dir",
    "sandbox_workspace_write",
    "trust_level",
    "writable_roots",
}


# They would end what the others need, or need a remote.
UNDONE = (["session", "close"], ["sync", "run"])


def called(hint: str, known: dict[str, str]) -> list[list[str]]:
    """Each call that a hint names, as the words of a command line; what is required of it is known."""
    lines = calls(hint)
    for found in METHOD.finditer(hint):
        told = re.match(r" with ([a-z_]+)(?: '?([\w-]+)'?)?", hint[found.end() :])
        shapes = {shape.name: shape for shape in registry.shapes(found[0])}
        given = {name: known[name] for name, shape in shapes.items() if shape.required or name.startswith("scope_")}
        if told:
            # As a wait, one second is enough.
            given[told[1]] = {"bool": "", "int": "1"}.get(shapes[told[1]].form, told[2])
        options = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value) if word]
        lines.append([*found[0].replace("_", "-").split("."), *options])
    return lines


def test_what_the_hint_of_a_refusal_names_can_be_called(
    repo: Path, root: Actor, other: Actor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def typed(words: list[str], at: Path) -> tuple[int, str]:
        monkeypatch.chdir(at)
        capsys.readouterr()
        status = cli.run([*words, "--json"])
        return status, capsys.readouterr().out

    fresh = repo.parent / "fresh"
    git("init", "-q", str(fresh), at=repo)
    git("commit", "-q", "--allow-empty", "-m", "first", at=fresh)
    case = root.case("one")
    root("case.begin", case_id=case)
    root("lock.acquire", scope_type="prefix", scope_path="src")
    feature = other("task.get", task_id=case)["task"]["parent_id"]
    commit(other.path, "new.txt")
    known = {"scope_type": "file", "scope_path": "src/a.py", "task_id": case, "feature_task_id": feature}
    known |= {"receiver_thread_id": "root", "message": "May I?"}
    lock = "lock acquire --scope-type file --scope-path src/a.py"
    for line, at, leads in (
        ("task list", fresh, ["workspace init"]),
        ("stauts", repo, ["-h"]),
        (lock, other.path, ["lock acquire", "task ready"]),
        (f"case begin {case}", other.path, ["task ready"]),
        (f"step check pass --step-id {case}.7", root.path, ["task get"]),
        ("task get case-zzzzzzzzzz", root.path, ["task list", "sync run"]),
        ("session context --session-id ses-zzzzzzzzzz", root.path, ["session list", "sync run"]),
        ("rescue show snap-zzz", repo, ["rescue list"]),
        ("uninstall", repo, ["session close", "status"]),
        ("merge main land", other.path, ["merge main"]),
        ("journal undo --op op-zzzzzzzzzz", root.path, ["journal list"]),
        ("task list --at op-zzzzzzzzzz", root.path, ["journal list"]),
        ("worktree spawn --parent-worktree-id wt-zzzzzzzzzz", root.path, ["worktree list", "sync run"]),
        ("resume candidates attach ses-zzzzzzzzzz", root.path, ["session list", "sync run"]),
        ("work current-ref ack thr-zzzzzzzzzz.1", root.path, ["work current-ref"]),
        ("session heartbeat", repo, ["session open"]),
    ):
        status, told = typed(shlex.split(line), at)
        error = json.loads(told)["error"]
        assert status == EXIT_STATUS[error["code"]]
        named = called(error["hint"], known)
        assert [" ".join(words[:2]) for words in named] == leads, error
        for words in (one for one in named if one[:2] not in UNDONE):
            status, told = typed(words, at)
            assert status in (0, 5), f"{line}: {words}: {told}"
