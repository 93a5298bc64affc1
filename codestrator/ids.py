"""Mints and reads ids: a typed prefix and ten characters of lower-case Crockford base 32."""

import os
import re

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 10

KIND_OF_PREFIX = {
    "ses": "session",
    "wt": "worktree",
    "epic": "task",
    "feat": "task",
    "grp": "task",
    "case": "task",
    "msg": "message",
    "snap": "rescue",
    "thr": "thread",
    "lock": "lock",
    "node": "node",
    "dir": "directive",
    "mrq": "merge_request",
    "rev": "review",
    "land": "land",
    "cp": "checkpoint",
    "op": "intent",
    "key": "intent",
}
PREFIX_OF_LEVEL = {"epic": "epic", "feature": "feat", "test_group": "grp", "case": "case"}
LEVEL_OF_PREFIX = {prefix: level for level, prefix in PREFIX_OF_LEVEL.items()}
PREFIXES_OF = {
    kind: tuple(prefix for prefix, of in KIND_OF_PREFIX.items() if of == kind) for kind in set(KIND_OF_PREFIX.values())
}

_BODY = f"[{ALPHABET}]{{{LENGTH}}}"
_WHOLE = re.compile(rf"({'|'.join(KIND_OF_PREFIX)})-{_BODY}")
_START = re.compile(rf"({'|'.join(KIND_OF_PREFIX)})-[{ALPHABET}]{{1,{LENGTH}}}")
_MACHINE = re.compile(_BODY)
_HANDOFF = re.compile(rf"ses-{_BODY}\.h[1-9][0-9]*")
_SINGLE = {"settings", "mirror", "meta"}


def mint(prefix: str) -> str:
    """Make a new id; 50 random bits, so that ids made on two machines do not clash."""
    return f"{prefix}-{mint_body()}"


def mint_body() -> str:
    # The alphabet has 32 characters, so each is as likely as any other.
    return "".join(ALPHABET[byte & 31] for byte in os.urandom(LENGTH))


def body_of(words: str) -> str:
    """An id without a prefix that follows from words: whoever makes it of the same ones makes the same."""
    from hashlib import sha256  # loads OpenSSL, for what is asked once in the life of a clone

    return "".join(ALPHABET[byte & 31] for byte in sha256(words.encode("utf-8", "surrogateescape")).digest()[:LENGTH])


def prefix_of(text: str) -> str:
    return text.split("-", 1)[0]


def is_whole(text: str) -> bool:
    return _WHOLE.fullmatch(text) is not None


def is_start(text: str) -> bool:
    """Whether the text is a typed prefix and at least one further character of an id."""
    return _START.fullmatch(text) is not None


def kind_of(document_id: str) -> str | None:
    """Tell a document's kind from its id alone; None for what is no document's id.

    >>> kind_of("case-5d0g8v3k6m"), kind_of("7k2m9q4d1x"), kind_of("ses-7k2m9q4d1x.h1"), kind_of("nonsense")
    ('task', 'machine', 'handoff', None)
    """
    if document_id in _SINGLE:
        return document_id
    if _HANDOFF.fullmatch(document_id):
        return "handoff"
    if _MACHINE.fullmatch(document_id):
        return "machine"
    return KIND_OF_PREFIX[prefix_of(document_id)] if is_whole(document_id) else None
