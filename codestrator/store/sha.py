"""SHA-1, by which git names objects and we spread documents over folders."""

import sys

try:
    from _sha1 import sha1 as _sha1  # type: ignore[import-not-found]  # hashlib would load OpenSSL first
except ImportError:
    from hashlib import sha1 as _sha1

LONG = 4096  # bytes, from which on OpenSSL is eight times as fast; below, the two are alike


def sha1(data: bytes) -> bytes:
    """Its 20 bytes."""
    known = sys.modules.get("hashlib") if len(data) > LONG else None  # in a server it is loaded, a command does without
    found: bytes = (known.sha1 if known else _sha1)(data, usedforsecurity=False).digest()
    return found
