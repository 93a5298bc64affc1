"""Our `SessionStart` hook in `.codex/hooks.json`, after those of the user: Codex trusts a hook by its place."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from codestrator.edges.codex.shared import Look, Part, Shared, line_end, verbatim

EVENT = "SessionStart"
CALLED = "codestrator brief --hook"
ENTRY: dict[str, Any] = {
    "matcher": "startup|resume|clear|compact",
    # Silent and never a failure: where the program is missing, where there is nothing to tell, where it is broken.
    "hooks": [{"type": "command", "command": f"git {CALLED} 2>/dev/null || true", "timeout": 10}],
}
MOST_OBJECTS = 5  # of what is put in: the file, its hooks, the entry, and what it calls
_JSON = json.JSONDecoder()
_BLANK = re.compile(r"[ \t\r\n]*")


class End(NamedTuple):
    """Where something can be added to an array or object: after its last item, with what stood before its first."""

    at: int
    before_first: str
    empty: bool


def _data(words: str) -> dict[str, Any]:
    data = json.loads(words.removeprefix("\ufeff") or "{}") if words.strip("\ufeff \t\r\n") else {}
    hooks = data.get("hooks", {}) if isinstance(data, dict) else None
    entries = hooks.get(EVENT, []) if isinstance(hooks, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f"not an object whose 'hooks' has a list '{EVENT}'")
    return dict(data)


def _is_ours(entry: Any) -> bool:
    return CALLED in json.dumps(entry)


def _look(words: str) -> Look:
    ours = [one for one in _data(words).get("hooks", {}).get(EVENT, []) if _is_ours(one)]
    if not ours:
        return Look("absent")
    return Look("ours") if ENTRY in ours else Look("left", f"its hook `{CALLED}` was changed")


def _rest(words: str) -> Any:
    """All but ours; an empty list of hooks is as good as none."""
    data = _data(words)
    hooks = {event: one for event, one in data.get("hooks", {}).items() if event != EVENT}
    if others := [one for one in data.get("hooks", {}).get(EVENT, []) if not _is_ours(one)]:
        hooks[EVENT] = others
    return {name: one for name, one in data.items() if name != "hooks"} | ({"hooks": hooks} if hooks else {})


def _add(words: str) -> Part:
    end = line_end(words)
    if not words.strip("\ufeff \t\r\n"):
        whole = json.dumps({"hooks": {EVENT: [ENTRY]}}, indent=2) + "\n"
        return Part(len(words), whole.replace("\n", end))
    data, at = _data(words), words.index("{")
    added: Any = {"hooks": {EVENT: [ENTRY]}}
    for name in ("hooks", EVENT):
        if name not in data:
            break
        data, added, at = data[name], added[name], _value(words, at, name)
    spot = _end(words, at)
    if isinstance(added, list):
        new = json.dumps(added[0])
    else:
        ((name, value),) = added.items()
        new = f"{json.dumps(name)}: {json.dumps(value)}"
    before = spot.before_first if "\n" in spot.before_first else ""
    return Part(spot.at, ("" if spot.empty else "," + (before or " ")) + new)


def _items(words: str, at: int) -> Iterator[tuple[str, int, int]]:
    """The items of the array or object that begins there: name, begin and end of each."""
    closing = "]" if words[at] == "[" else "}"
    at = _skip(words, at + 1)
    while words[at] != closing:
        name, begin = "", at
        if closing == "}":
            name, at = _JSON.raw_decode(words, at)
            begin = _skip(words, _skip(words, at) + 1)
        _, end = _JSON.raw_decode(words, begin)
        yield name, begin, end
        at = _skip(words, end)
        at = _skip(words, at + 1) if words[at] == "," else at


def _skip(words: str, at: int) -> int:
    found = _BLANK.match(words, at)
    return found.end() if found else at


def _value(words: str, at: int, name: str) -> int:
    """Where the value of that name begins; the last one counts, as for whoever reads JSON."""
    return [begin for key, begin, _ in _items(words, at) if key == name][-1]


def _end(words: str, at: int) -> End:
    ends = [end for _, _, end in _items(words, at)]
    return End(ends[-1] if ends else at + 1, words[at + 1 : _skip(words, at + 1)], not ends)


def _cuts(words: str, part: str) -> Iterator[str]:
    """As it was put in; else, where the user has added around it, the entry with one comma beside it."""
    yield from verbatim(words, part)
    hooks = _data(words).get("hooks", {})
    if not isinstance(hooks.get(EVENT), list):
        return
    at = _value(words, _value(words, words.index("{"), "hooks"), EVENT)
    for _, begin, end in _items(words, at):
        if _holds(part, _JSON.raw_decode(words, begin)[0]):
            after = re.match(r"[ \t\r\n]*,[ \t\r\n]*", words[end:])
            before = re.search(r"[ \t\r\n]*,[ \t\r\n]*\Z", words[:begin])
            yield words[:begin] + words[end + (after.end() if after else 0) :]
            yield (words[: before.start()] if before else words[:begin]) + words[end:]


def _holds(part: str, entry: Any) -> bool:
    """Whether an entry is the one that was put in, whatever its layout is now."""
    begins = [found.start() for found in re.finditer(r"\{", part)]
    return _is_ours(entry) and any(_JSON.raw_decode(part, begin)[0] == entry for begin in begins[:MOST_OBJECTS])


def _is_blank(words: str) -> bool:
    return not _rest(words)


HOOK = Shared(
    path=".codex/hooks.json",
    adds=f"a {EVENT} hook that prints `git {CALLED}`",
    look=_look,
    add=_add,
    cuts=_cuts,
    rest=_rest,
    is_blank=_is_blank,
)
