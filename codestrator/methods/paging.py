"""Pages of a list: a cursor names the state that the first page was read from, so no page can shift under another."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from codestrator.calls import Tx
from codestrator.errors import InvalidParams
from codestrator.model import Presented
from codestrator.params import Paged

RESULT_BYTES = 1024 * 1024
T = TypeVar("T")


def page(tx: Tx, want: Paged, listed: Callable[[Tx], Sequence[T]], show: Callable[[Tx, T], Any]) -> dict[str, Any]:
    """One page of what `listed` gives in its order, each shown by `show`.

    All pages of a list are read from the state of the first one: no item comes twice and none is skipped.
    """
    start, then = _opened(tx, want.cursor)
    everything = listed(then)
    items: list[Any] = []
    size = 0
    for one in everything[start : start + want.limit]:
        item = show(then, one)
        size += (type(item) is Presented and item.size) or len(msgspec.json.encode(item, enc_hook=_as_builtins))
        if items and size > RESULT_BYTES:
            break
        items.append(item)
    result: dict[str, Any] = {"items": items, "count": len(items)}
    if start + len(items) < len(everything):
        result["next_cursor"] = f"{start + len(items)}.{then.base.state_commit}"
    return result


def _as_builtins(value: Any) -> Any:
    return msgspec.to_builtins(value)


def _opened(tx: Tx, cursor: str | None) -> tuple[int, Tx]:
    if cursor is None:
        return 0, tx
    start, _, commit = cursor.partition(".")
    if not (start.isdecimal() and len(start) < 10 and len(commit) == 40 and set(commit) <= set("0123456789abcdef")):
        raise InvalidParams(
            f"'cursor' is '{cursor[:80]}', expected the next_cursor of the page before",
            field="cursor",
            found=cursor[:80],
            expected="next_cursor of the page before",
        )
    return int(start), tx.as_of(commit)


def fitting(items: Iterable[T], size: int = RESULT_BYTES // 2) -> tuple[list[T], bool]:
    """As many of these as a result has room for beside its other parts, and whether some were left out."""
    kept: list[T] = []
    for one in items:
        size -= len(msgspec.json.encode(one, enc_hook=_as_builtins))
        if size < 0:
            return kept, True
        kept.append(one)
    return kept, False
