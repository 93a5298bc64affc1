"""What a caller gave as a method's parameters: cleaned, bounded and checked, or refused with field, found, expected."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from codestrator import ids, text
from codestrator.decoding import convert
from codestrator.errors import InvalidParams
from codestrator.params import P, Shape, shapes

LIST_ENTRIES = 1000
Roots = Callable[[], tuple[str, ...]]  # of absolute paths; asked only where one is given


def parse(kind: type[P], method: str, given: Mapping[str, Any], roots: Roots = tuple) -> P:
    """Clean, bound and check what a caller gave; anything off is refused with the field, the found and the expected."""
    by_name = {shape.name: shape for shape in shapes(kind)}
    ready: dict[str, Any] = {}
    for name, value in given.items():
        if name in kind.ELSEWHERE:
            raise InvalidParams(
                f"'{name}' cannot be set by {method}, expected {kind.ELSEWHERE[name]}",
                field=name,
                expected=kind.ELSEWHERE[name],
            )
        if name not in by_name:
            raise _unknown(method, name, tuple(by_name))
        cleaned = None if value is None else _clean(by_name[name], value, name, roots)
        if cleaned is not None:
            ready[name] = cleaned
    for shape in by_name.values():
        if shape.required and shape.name not in ready:
            raise InvalidParams(
                f"'{shape.name}' of {method} is missing or blank, expected {shape.type_text}",
                hint=f"Call {method} with {', '.join(one.signature() for one in by_name.values() if one.required)}.",
                field=shape.name,
                found="nothing",
                expected=shape.type_text,
            )
    return _convert(kind, method, ready)


def _convert(kind: type[P], method: str, ready: dict[str, Any]) -> P:
    try:
        return convert(ready, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        field = where.rstrip("`") or method
        expected, _, found = what.partition(", got ")
        raise InvalidParams(
            f"'{field}' of {method} is not as expected: {what[:1].lower()}{what[1:].replace('`', '')}",
            field=field,
            expected=expected.removeprefix("Expected ").replace("`", ""),
            found=found.replace("`", "") or None,
        ) from None


def _unknown(method: str, name: str, known: tuple[str, ...]) -> InvalidParams:
    close = nearest(name, known)
    tail = f", nearest is '{close}'" if close else f", expected one of {', '.join(known) or 'none'}"
    return InvalidParams(
        f"unknown parameter '{text.one_line(name)[:80]}' of {method}{tail}",
        field=text.one_line(name)[:80],
        nearest=close,
        expected=list(known),
    )


def nearest(name: str, known: tuple[str, ...]) -> str | None:
    """The known name that is most like the given one, if any is."""
    from difflib import get_close_matches

    found = get_close_matches(name, known, 1, 0.5)
    return found[0] if found else None


def _clean(shape: Shape, value: Any, field: str, roots: Roots) -> Any:
    """The value in the contract's form, or None where it counts as missing; wrong types are left to the conversion."""
    if isinstance(value, str) and shape.form not in ("json",):
        return _clean_text(shape, value, field, roots)
    if shape.form == "list" and isinstance(value, list | tuple):
        if len(value) > LIST_ENTRIES:
            raise _too_large(field, f"{len(value)} entries", f"at most {LIST_ENTRIES}")
        assert shape.item
        cleaned = [_clean(shape.item, one, f"{field}[{index}]", roots) for index, one in enumerate(value)]
        return [one for one in cleaned if one is not None]
    if shape.form == "object" and isinstance(value, Mapping):
        known = {one.name: one for one in shape.fields}
        for name in value:
            if name not in known:
                raise _unknown(field, str(name), tuple(known))
        found = {name: _clean(known[name], one, f"{field}.{name}", roots) for name, one in value.items()}
        return {name: one for name, one in found.items() if one is not None}
    if shape.form == "json":
        return _clean_json(value, field)
    return value


def _clean_text(shape: Shape, value: str, field: str, roots: Roots) -> Any:
    if shape.form == "path":
        return text.repository_path(value, field, roots) if value.strip() else None
    cleaned = text.one_line(value) if shape.form in ("title", "enum", "id") else text.clean(value)
    if not cleaned:
        return "" if shape.blank else None
    if shape.form == "title" and not shape.size and len(cleaned) > text.TITLE_CHARACTERS:
        raise _too_large(field, f"{len(cleaned)} characters", f"at most {text.TITLE_CHARACTERS}")
    bound = shape.size or text.MESSAGE_BYTES
    if text.size(cleaned) > bound:
        raise _too_large(field, f"{text.size(cleaned)} bytes", f"at most {bound}")
    if shape.form == "id":
        _check_id(shape, cleaned, field)
    return _choice(shape, cleaned) if shape.form == "enum" else cleaned


def _choice(shape: Shape, given: str) -> str:
    """The choice that is meant: any case, `TestGroup` and `test-group` for `test_group`, and agreed other words."""
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])|[ -]+", "_", given).lower()
    for word in (given, given.lower(), snake):
        if word in shape.choices:
            return word
    return shape.means.get(snake, given)


def _check_id(shape: Shape, value: str, field: str) -> None:
    head, _, number = value.partition(".")
    if shape.part and not (number.isdecimal() and number[0] != "0"):
        head = ""
    if (number and not shape.part) or not ids.is_start(head) or ids.prefix_of(head) not in shape.prefixes:
        expected = " or ".join(f"'{prefix}-…'" for prefix in shape.prefixes[:4]) + ("'.n'" if shape.part else "")
        raise InvalidParams(
            f"'{field}' is '{value[:80]}', expected an id or its beginning: {expected}",
            field=field,
            found=value[:80],
            expected=expected,
        )


def _clean_json(value: Any, field: str) -> Any:
    import json  # msgspec writes null for what is no number

    try:
        size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode())
    except (TypeError, ValueError, RecursionError, UnicodeEncodeError):
        raise InvalidParams(f"'{field}' cannot be written as JSON, expected a JSON value", field=field) from None
    if size > text.JSON_BYTES:
        raise _too_large(field, f"{size} bytes", f"at most {text.JSON_BYTES}")
    return value


def _too_large(field: str, found: str, allowed: str) -> InvalidParams:
    return InvalidParams(f"'{field}' has {found}, expected {allowed}", field=field, found=found, expected=allowed)
