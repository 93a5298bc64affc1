"""The kinds of values that options take, and what completion offers for each.

What is offered comes from the repository as it stands; where that cannot be read, nothing is offered.
"""

import os
from abc import abstractmethod
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codestrator.edges.context import Context
from codestrator.errors import CodestratorError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    AnyType = click.ParamType[Any]
else:
    AnyType = click.ParamType  # takes no subscript before click 8.4

OFFERED = 50
TITLES = ("title", "user_request", "slug", "scope_path", "target_branch", "text")
ABOUT = 60  # characters of a title beside its id


class Json(AnyType):
    """JSON, `@file` with JSON in it, or `-` for standard input; what is plainly no JSON is taken as a text."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        import json
        import sys

        try:
            if value == "-":
                return json.loads(sys.stdin.read())
            if value.startswith("@"):
                return json.loads(Path(value[1:]).read_text(encoding="utf-8"))
            return json.loads(value)
        except (OSError, UnicodeDecodeError) as error:
            self.fail(f"'{value}' cannot be read: {error}", param, ctx)
        except ValueError as error:
            if value == "-" or value.lstrip()[:1] in ("{", "[", "@"):
                self.fail(f"not JSON: {error}", param, ctx)
            return value


class Offered(AnyType):
    """A value of which the repository knows some."""

    name = "text"

    @abstractmethod
    def known(self, context: Context, start: str) -> Iterator[tuple[str, str]]:
        """Values that begin so, each with what it is."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list["CompletionItem"]:
        from click.shell_completion import CompletionItem

        try:
            found = list(islice(self.known(ctx.ensure_object(Context), incomplete), OFFERED))
        except (CodestratorError, OSError):
            return []
        return [CompletionItem(one, help=about) for one, about in found]


class Id(Offered):
    """An id or its beginning; each is offered with its title."""

    name = "id"

    def __init__(self, prefixes: tuple[str, ...]) -> None:
        self.prefixes = prefixes

    def known(self, context: Context, start: str) -> Iterator[tuple[str, str]]:
        from codestrator import ids
        from codestrator.edges.plain import cell
        from codestrator.records import KINDS

        tx = context.tx()
        for name in dict.fromkeys(ids.KIND_OF_PREFIX[prefix] for prefix in self.prefixes):
            for row in tx.rows(KINDS[name]) if name in KINDS else ():
                if row.id.startswith(start) and ids.prefix_of(row.id) in self.prefixes:
                    whole = tx.get(KINDS[name], row.id)
                    about = cell(next((one for title in TITLES if (one := getattr(whole, title, None))), ""))
                    yield row.id, about if len(about) <= ABOUT else f"{about[: ABOUT - 1]}…"


class Branch(Offered):
    """A branch of the repository."""

    name = "branch"

    def known(self, context: Context, start: str) -> Iterator[tuple[str, str]]:
        names = context.world.git.run("for-each-ref", "--format=%(refname:short)", "refs/heads").splitlines()
        yield from ((name, "branch") for name in names if name.startswith(start))


class Remote(Offered):
    """A remote of the repository."""

    name = "remote"

    def known(self, context: Context, start: str) -> Iterator[tuple[str, str]]:
        names = context.world.git.run("remote").splitlines()
        yield from ((name, "remote") for name in names if name.startswith(start))


class RepositoryPath(Offered):
    """A path from the top of the worktree that the command line stands in."""

    name = "path"

    def known(self, context: Context, start: str) -> Iterator[tuple[str, str]]:
        head, _, name = start.rpartition("/")
        if start.startswith("/") or ".." in head.split("/"):
            return
        top = Path(context.world.git.run("rev-parse", "--show-toplevel", at=context.folder))
        for one in sorted(os.scandir(top / head), key=lambda one: one.name):
            if one.name.startswith(name) and one.name.isprintable() and (name or one.name[0] != "."):
                found = f"{head}/{one.name}" if head else one.name
                yield (f"{found}/", "folder") if one.is_dir() else (found, "file")


OF_FORM: dict[str, AnyType] = {
    "int": click.INT,
    "number": click.FLOAT,
    "json": Json(),
    "object": Json(),
    "path": RepositoryPath(),
}
# More than their type says.
OF_NAME: dict[str, AnyType] = {"target_branch": Branch(), "base_ref": Branch(), "remote": Remote()}
