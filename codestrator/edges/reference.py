"""What is written about the whole surface, generated from it: the reference, the list of methods, the list of errors.

`pytest --rewrite` writes the files anew; without it the tests refuse files that are out of step.
"""

import json
from collections.abc import Iterator
from typing import Any

from codestrator import errors, ids, registry, table
from codestrator.edges import examples, topics
from codestrator.params import Shape

INTRODUCTION = """\
# Reference

Generated from the program; do not edit (`pytest tests/edges/test_reference.py --rewrite`).

Every method is called in the same way from both edges:

- by an agent: `{"method": "lock.acquire", "params": {…}}` to the tool of its group, or to `orchestrator.call`;
- in a shell: `git codestrator lock acquire --scope-path …`; dots become spaces, underscores hyphens, `--json` gives \
the result as one JSON object, and required parameters may be given in this order without their names.

`name?` may be left out, `=` shows its default. An id may be cut to any beginning that is unique. Paths are relative \
to the repository. Whatever writes also takes `idempotency_key` (1 to 64 bytes): the same key with the same \
parameters repeats nothing for a day. What is marked *past* also takes `at`, an operation's id, and answers as of then.
"""

FILES = ("reference.md", "methods.json", "errors.txt")


def content(name: str) -> str:
    """What a generated file has to hold."""
    return {"reference.md": reference, "methods.json": methods, "errors.txt": refusals}[name]()


def reference() -> str:
    """All groups with all methods, in the order of the table."""
    return "\n".join([INTRODUCTION, *(line for group in table.GROUPS for line in _group(group)), *_errors()])


def _group(group: table.Group) -> Iterator[str]:
    yield f"## {group.tool}\n\n{group.about}\n"
    for method in group.methods:
        yield from _method(method)


def _method(method: table.Method) -> Iterator[str]:
    yield f"### {method.name}\n"
    text = f"{registry.summary(method.name)}\n\n{registry.details(method.name)}".strip()
    marks = [method.kind, *(["past"] if method.at else []), *(f"+{role}" for role in method.roles)]
    yield f"{text} *({', '.join(marks)})*\n" if "\n" not in text else f"{text}\n\n*({', '.join(marks)})*\n"
    shapes = registry.shapes(method.name)
    if shapes:
        yield "| parameter | type | default | |\n|---|---|---|---|"
        yield from (_row(method.name, shape) for shape in sorted(shapes, key=lambda shape: not shape.required))
        yield ""
    calls = examples.of(method.name.replace(".", " ").replace("_", "-"))
    yield "\n".join(["```sh", *(line for call in calls for line in examples.broken(call, 100)), "```\n"])


def _row(method: str, shape: Shape) -> str:
    default = "required" if shape.required else "" if shape.default in (None, (), "", {}) else json.dumps(shape.default)
    kind = shape.type_text.replace("|", "\\|")
    about = shape.description or topics.parameter(method, shape.name)
    return f"| `{shape.name}` | {kind} | {default} | {about.replace('|', chr(92) + '|')} |"


def _errors() -> Iterator[str]:
    yield "## Refusals\n\nEach has `code`, `message`, `hint` (a safe next call), `details` and `retryable`.\n"
    yield "| code | means | the same call may work later | exit status |\n|---|---|---|---|"
    for code, kind in by_code().items():
        meaning = (kind.__doc__ or "").split("\n")[0].rstrip(".")
        yield f"| `{code}` | {meaning} | {'yes' if kind.retryable else 'no'} | {errors.EXIT_STATUS[code]} |"
    yield "\n## Ids\n\n| begins with | names |\n|---|---|"
    yield from (f"| `{prefix}-` | {kind.replace('_', ' ')} |" for prefix, kind in ids.KIND_OF_PREFIX.items())
    yield "\n## Settings of git\n\n| setting | default | |\n|---|---|---|"
    yield from (f"| `codestrator.{name}` | {default} | {about} |" for name, (default, about) in topics.SETTINGS.items())
    yield "\n## Environment\n\n| variable | |\n|---|---|"
    yield from (f"| `{name}` | {about} |" for name, about in topics.ENVIRONMENT.items())
    yield ""


def methods() -> str:
    """Name, group, kind, roles and parameters of every method, as JSON: the surface, reviewed as a difference."""
    found = [_listed(group, method) for group in table.GROUPS for method in group.methods]
    return json.dumps({"methods": found}, indent=1, ensure_ascii=False) + "\n"


def _listed(group: table.Group, method: table.Method) -> dict[str, Any]:
    return {
        "name": method.name,
        "tool": group.tool,
        "kind": method.kind,
        "past": method.at,
        "roles": list(method.roles),
        "params": [_param(shape) for shape in registry.shapes(method.name)],
    }


def _param(shape: Shape) -> dict[str, Any]:
    found: dict[str, Any] = {"name": shape.name, "type": shape.type_text, "required": shape.required}
    if not shape.required and shape.default not in (None, (), "", {}):
        found["default"] = shape.default
    return found


def refusals() -> str:
    """Every code with its exit status, one a line, in the order of the one table that holds them."""
    return "".join(
        f"{code:<16} exit {errors.EXIT_STATUS[code]}  {'retry' if kind.retryable else 'final'}  {kind.__name__}\n"
        for code, kind in by_code().items()
    )


def by_code() -> dict[str, type[errors.CodestratorError]]:
    """The class that stands for each code."""
    found: dict[str, type[errors.CodestratorError]] = {}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.CodestratorError) and "code" in vars(kind):
            found[kind.code] = kind
    found["internal"] = errors.Internal
    return {code: found[code] for code in errors.EXIT_STATUS}
