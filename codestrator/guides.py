"""Finds and reads what tells an agent its trade: guides, and the role files of the Agents SDK.

A guide is instruction, so it comes from this installation, from the repository's own copy of that, or from a file that
the caller named inside the repository, never from state.
"""

import os
import stat
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import msgspec
from msgspec import Struct

from codestrator import table, text
from codestrator.decoding import convert
from codestrator.errors import External, InvalidParams

AGENTS = Path(__file__).parent / "agents"
INSTALLED = ".codex/agents/codestrator"  # where `init --codex` puts copies, which a repository may change
MOST_BYTES = 64 * 1024
ROOT_GUIDE = "root-orchestrator.md"
WORKER_GUIDE = "main-worker.md"
GUIDES = (ROOT_GUIDE, WORKER_GUIDE, *(f"{role}.md" for role in table.ROLES if role != table.WORKER))
NOTHING = ("", "~", "null")  # as YAML writes it
AGAIN = "Install codestrator again, or name a guide of the repository with agent_guide_path."
MEND = "Mend that file, or remove it: without it the shipped one is read."


class RoleFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an Agents SDK agent is made from; `tools` are the methods it may call, `model` is none for the SDK's own."""

    role: str
    display_name: str
    instructions: str
    tools: list[str]
    model: str | None


class _Source(NamedTuple):
    """A file that is read, and how to speak of it: by the parameter that named it, or with what mends it."""

    path: Path
    name: str
    field: str | None
    mend: str = AGAIN

    def refuse(self, found: str, expected: str) -> NoReturn:
        message = f"'{self.name}' {found}, expected {expected}"
        if self.field is None:
            raise External(message, hint=self.mend, program="codestrator", file=str(self.path), found=found)
        hint = "Name a shipped guide or a text file inside the repository, or leave the parameter out."
        raise InvalidParams(message, hint=hint, field=self.field, found=found, expected=expected)


def guide_for(role: str) -> str:
    """The name of the guide of a role; a role of its own making counts as worker."""
    if role in table.ROOT_ROLES:
        return ROOT_GUIDE
    return WORKER_GUIDE if role not in table.ROLES or role == table.WORKER else f"{role}.md"


def read_guide(role: str, given: str | None, repo: Path, guide_root: str | None = None) -> str:
    """The guide's text: the role's own, or the one that `agent_guide_path` names, shipped or inside the repository.

    The repository's copy of a shipped guide, where `init --codex` put one, is read instead of it, changed or not.
    `guide_root` (codestrator.guideRoot) is a further folder of the repository in which the name is looked for.
    """
    source = _named(given, repo, guide_root) if given and given.strip() else _own(guide_for(role), repo)
    words = text.clean(_decoded(source, _content(source)))
    return words or source.refuse("is empty", "a guide's text")


def role_file(role: str, repo: Path | None = None) -> RoleFile:
    """What an agent of that role is made from, the repository's copy first; a role of its own making is a worker."""
    if role in table.ROOT_ROLES:
        raise InvalidParams(
            f"role '{role}' has no role file, expected the role of a child: {', '.join(table.ROLES)}",
            hint="Spawn a child with one of these roles.",
            field="role",
            found=role,
        )
    known = role if role in table.ROLES else table.WORKER
    source = _own(role_file_of(known), repo)
    found = _parsed(source)
    if found.role != known:
        source.refuse(f"is for the role '{text.one_line(found.role)[:80]}'", f"'{known}'")
    if beyond := [name for name in found.tools if name not in table.METHODS or not table.may_call(known, name)]:
        source.refuse(f"names the tool '{text.one_line(beyond[0])[:80]}'", f"methods that '{known}' may call")
    return found


def role_file_of(role: str) -> str:
    """The name of the role file of one of the roles."""
    return f"agents-sdk/{role}.yaml"


def _own(name: str, repo: Path | None) -> _Source:
    """The repository's copy of something shipped where it has one, else what is shipped."""
    copied = f"{INSTALLED}/{name}"
    if repo is None or not os.path.lexists(repo / copied):
        return _Source(AGENTS / name, name, None)
    return _inside(repo.resolve(), _Source(repo / copied, copied, None, MEND), "a guide or role file")


def _named(given: str, repo: Path, guide_root: str | None) -> _Source:
    """The file that a caller named; a link that leads out of the repository is refused, as is what git keeps."""
    field = "agent_guide_path"
    if given.strip() in GUIDES:
        return _own(given.strip(), repo)
    root = repo.resolve()
    name = text.repository_path(given, field, lambda: (str(repo), str(root)))
    if guide_root and not (root / name).exists() and (root / guide_root / name).exists():
        name = f"{guide_root.rstrip('/')}/{name}"
    return _inside(root, _Source(root / name, name, field), f"a file of the repository or {', '.join(GUIDES)}")


def _inside(root: Path, named: _Source, expected: str) -> _Source:
    """The file itself, its links followed as long as they stay inside."""
    try:
        path = named.path.resolve(strict=True)
    except (OSError, RuntimeError):
        named.refuse("is not there", expected)
    source = named._replace(path=path)
    inside = path.relative_to(root).parts if path.is_relative_to(root) else None
    if inside is None or ".git" in (part.lower() for part in inside):
        source.refuse("leads out of the repository's files", "a file inside the repository")
    return source


def _content(source: _Source) -> bytes:
    """The file's bytes; anything but a plain file of fitting size is refused."""

    def opener(path: str, flags: int) -> int:
        return os.open(path, flags | os.O_NONBLOCK)  # a pipe must not hold us up

    try:
        with open(source.path, "rb", opener=opener) as file:
            plain = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            content = file.read(MOST_BYTES + 1) if plain else b""
    except OSError as error:
        source.refuse(f"cannot be read: {(error.strerror or str(error)).lower()}", "a text file")
    if not plain:
        source.refuse("is no plain file", "a text file")
    if len(content) > MOST_BYTES:
        source.refuse(f"has more than {MOST_BYTES} bytes", f"at most {MOST_BYTES}")
    return content


def _decoded(source: _Source, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        source.refuse(f"is not UTF-8 at byte {error.start}", "UTF-8 text")


def _parsed(source: _Source) -> RoleFile:
    import yaml  # only an Agents SDK child has a role file

    words = _decoded(source, _content(source))
    try:
        # Texts and lists only: the loader in C overruns its stack on deep nesting, and tags raise whatever they like.
        found: Any = yaml.load(words, Loader=yaml.BaseLoader)
        read = convert(found, RoleFile)
        return msgspec.structs.replace(read, model=None) if read.model in NOTHING else read
    except (yaml.YAMLError, msgspec.ValidationError, RecursionError) as error:
        said = text.one_line(str(error))[:300] or type(error).__name__
        source.refuse(f"is no role file: {said}", f"the fields {', '.join(RoleFile.__struct_fields__)}")
