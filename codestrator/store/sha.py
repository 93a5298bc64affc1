"""SHA-1, by which git names objects and we spread documents over folders."""

try:
    from _sha1 import sha1 as _sha1  # type: ignore[import-not-found]  # hashlib would load OpenSSL first
except ImportError:
    from hashlib import sha1 as _sha1


def sha1(data: bytes) -> bytes:
    """Its 20 bytes."""
    found: bytes = _sha1(data, usedforsecurity=False).digest()
    return found
