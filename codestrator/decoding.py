"""Values of msgspec's structs out of JSON, with what it has to find out of each kind found out by one thread at a time.

msgspec looks at the annotations of a struct when it first meets it. Two threads that make it do so at once end the
process with a segmentation fault (seen with 0.22, in one start of a server in fifty, under load).
"""

import threading
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
_one_at_a_time = threading.Lock()


def decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """Reads JSON as this kind of struct; for any thread."""
    known: msgspec.json.Decoder[T] | None = _decoders.get(kind)
    if known is None:
        with _one_at_a_time:
            known = _decoders[kind] = msgspec.json.Decoder(kind)
    return known


def convert(value: Any, kind: type[T]) -> T:
    """Plain values as this kind of struct; `msgspec.ValidationError` where they do not fit."""
    decoder(kind)
    return msgspec.convert(value, kind)
