"""Who may import whom, as data. A rule that has to change is changed here, in the open."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import codestrator

ROOT = Path(codestrator.__file__).parent
LEAVES = ("errors", "clock", "decoding", "ids", "keyshapes", "text", "model", "records", "params", "ports", "programs")
STORE_LEAVES = ("errors", "clock", "decoding", "ids", "model", "ports")
# What of the store is open to others: its face, merge and undo, and what the doctor looks with.
STORE_FACE = (
    *("store.store", "store.transaction", "store.journal", "store.documents"),
    *("store.undo", "store.joining", "store.soundness"),
)

# Of our own modules, what each room may import; the rooms are the folders, `spine` is what lies beside them.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "records": ("model", "records.*"),
    "store": (*STORE_LEAVES, "store.*"),
    "world": (*LEAVES, "kinds", "store.store", "store.notes", "store.configuration", "store.moving", "world.*"),
    "methods": (*LEAVES, "calls", "guides", "scopes", "table", "threadfiles", *STORE_FACE, "methods.*"),
    "edges": (*LEAVES, "calls", "guides", "seats", "table", "registry", "threadfiles", "world", "runner", "edges.*"),
    "runner": (
        *LEAVES,
        "calls",
        "guides",
        "kinds",
        "seats",
        "table",
        "registry",
        "threadfiles",
        "world",
        "world.*",
        "runner.*",
    ),
}
LEAF_MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "errors": (),
    "keyshapes": (),
    "clock": (),
    "ids": ("errors",),
    "text": ("errors",),
    "model": ("errors",),
    "params": ("ids", "text"),
    "shapes": ("decoding", "params"),
    "cleaning": ("decoding", "errors", "ids", "params", "text"),
    "ports": ("clock", "programs"),
    "programs": (),
    "calls": ("ids", "clock", "model", "ports", "store.store", "store.transaction"),
    "table": (),
    "decoding": (),
    "threadfiles": ("decoding", "errors", "ids", "ports"),
    "guides": ("decoding", "errors", "table", "text"),
    "kinds": ("errors",),
    "scopes": ("calls", "errors", "ids", "records"),
    "identity": ("calls", "errors", "ids", "params", "records", "scopes", "table"),
    "seats": ("params", "calls", "errors", "identity", "records", "ports", "table", "threadfiles"),
    "receipts": ("calls", "clock", "errors", "ids", "records"),
    "registry": (
        *("calls", "cleaning", "errors", "identity", "ids", "model"),
        *("params", "ports", "receipts", "records", "seats", "shapes", "table"),
    ),
    "__init__": (),
    "__main__": ("edges.cli", "runner"),
}

# Each of these has one home; nobody else imports it.
SETS = ("edges/setup.py", "edges/shows.py", "edges/doctor.py", "edges/resume.py")
HELP = ("edges/completion.py", "edges/helping.py", "edges/manual.py", "edges/values.py")
HOMES: dict[str, tuple[str, ...]] = {
    "pygit2": ("store/*",),
    "libtmux": ("world/*",),
    "agents": ("runner/sdk.py", "runner/bridge.py"),
    "mcp": ("edges/server.py", "edges/demo.py", "runner/bridge.py"),
    "click": ("edges/cli.py", "edges/derived.py", *SETS, *HELP),
    "rich": ("edges/screens.py", "edges/demo.py", "edges/demo_children.py", "edges/watch/*"),
    "textual": ("edges/watch/*",),
    # The demo is an agent's side of the story: a person who types git, and kills a process.
    "subprocess": ("world/*", "runner/*", "edges/demo.py", "edges/demo_worker.py"),
    "yaml": ("guides.py",),
    "tomlkit": ("edges/codex/server.py",),
    "socket": (),
    "sqlite3": (),
    "pickle": (),
    "pydantic": (),
}
# A method gets world and time in its hand; what could reach around that is not to be had.
NEVER_IN_METHODS = ("pygit2", "subprocess", "os", "time", "random", "secrets", "uuid", "shutil", "signal", "tempfile")


class Import(NamedTuple):
    """One import: the file it is in, relative to the package, and the module or name it brings."""

    file: str
    name: str


def files() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


@cache
def imports() -> tuple[Import, ...]:
    """Every import of the package, those inside functions and for type checking too."""
    return tuple(_imports())


def _imports() -> Iterator[Import]:
    for path in files():
        where = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (Import(where, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0 and node.module, f"{where} imports relatively"
                yield from (Import(where, f"{node.module}.{alias.name}") for alias in node.names)


def module_of(name: str) -> str:
    """The module of ours that a name lies in: `codestrator.store.Store` lies in `store`."""
    parts = name.split(".")[1:]
    while parts and not ((ROOT.joinpath(*parts)).is_dir() or ROOT.joinpath(*parts).with_suffix(".py").is_file()):
        parts.pop()
    return ".".join(parts)


def allowed(file: str) -> tuple[str, ...]:
    room, _, rest = file.partition("/")
    return MAY_IMPORT[room] if rest else LEAF_MAY_IMPORT[file.removesuffix(".py")]


def fits(module: str, rules: tuple[str, ...]) -> bool:
    return any(module == rule or (rule.endswith(".*") and f"{module}.".startswith(rule[:-1])) for rule in rules)


@pytest.mark.parametrize("file", [path.relative_to(ROOT).as_posix() for path in files()])
def test_a_file_imports_only_what_its_room_may(file: str) -> None:
    ours = {module_of(one.name) for one in imports() if one.file == file and one.name.split(".")[0] == "codestrator"}
    assert sorted(one for one in ours if one and not fits(one, allowed(file))) == []


@pytest.mark.parametrize("library", HOMES)
def test_a_library_has_one_home(library: str) -> None:
    found = {one.file for one in imports() if one.name.split(".")[0] == library}
    assert sorted(file for file in found if not any(Path(file).match(home) for home in HOMES[library])) == []


def test_each_library_with_a_home_is_used_there() -> None:
    """A home that nobody lives in any more is a rule that protects nothing."""
    used = {
        (one.name.split(".")[0], home)
        for one in imports()
        for home in HOMES.get(one.name.split(".")[0], ())
        if Path(one.file).match(home)
    }
    assert (
        sorted((library, home) for library, homes in HOMES.items() for home in homes if (library, home) not in used)
        == []
    )


def test_methods_reach_the_outside_world_only_through_what_they_are_given() -> None:
    found = [one for one in imports() if one.file.startswith("methods/") and one.name.split(".")[0] in NEVER_IN_METHODS]
    assert found == []


def test_methods_never_ask_a_clock() -> None:
    clocks = ("now", "utcnow", "today")
    found = [
        f"{path.name}:{node.lineno}"
        for path in (ROOT / "methods").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in clocks
        if isinstance(node.func.value, ast.Name) and node.func.value.id in ("datetime", "date", "time")
    ]
    assert found == []


def test_the_rules_speak_of_every_file() -> None:
    rooms = {path.relative_to(ROOT).parts[0] for path in files() if path.parent != ROOT}
    assert rooms == set(MAY_IMPORT)
    assert {path.stem for path in ROOT.glob("*.py")} == set(LEAF_MAY_IMPORT)


def test_no_file_is_longer_than_350_lines_and_no_function_longer_than_40() -> None:
    long = []
    for path in files():
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 350:
            long.append(path.name)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                long += [f"{path.name}:{node.name} {lines}"] if lines > 40 else []
    assert long == []
