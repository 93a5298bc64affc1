"""Hints name methods, as agents call them; at a shell each is the command that it is there."""

import re

from codestrator import registry, table

SHORTER = {"workspace.init": "init", "doctor.check": "doctor", "work.brief": "brief"}
_METHOD = re.compile(rf"(\b[Cc]all )?(?<![\w./-])({'|'.join(map(re.escape, table.METHODS))})(?![\w.]*\w)")
_PARAMETER = re.compile(r" (?:(?:with|in) )?([a-z_]+)(?: ('[^']*'|[\w-]+))?")


def in_shell(hint: str) -> str:
    """The hint with commands in place of methods, their parameters as options."""
    shown, at = "", 0
    while found := _METHOD.search(hint, at):
        call = {"Call ": "Run ", "call ": "run "}.get(found[1] or "", "")
        words = SHORTER.get(found[2]) or found[2].replace(".", " ").replace("_", "-")
        option, end = _option(found[2], hint, found.end())
        shown += f"{hint[at : found.start()]}{call}git codestrator {words}{option}"
        at = end
    return shown + hint[at:]


def _option(method: str, hint: str, at: int) -> tuple[str, int]:
    """What is said of a parameter there, as an option, and where it ends; nothing where it is none."""
    told = _PARAMETER.match(hint, at)
    shape = next((one for one in registry.shapes(method) if told and one.name == told[1]), None)
    if told is None or shape is None:
        return "", at
    option = shape.name.replace("_", "-")
    if shape.form == "bool":
        return f" --no-{option}" if told[2] == "false" else f" --{option}", told.end()
    return f" --{option} {told[2] or '…'}", told.end()
