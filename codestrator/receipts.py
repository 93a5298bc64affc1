"""Receipts of keyed calls: the same key with the same call returns the first result and changes nothing."""

from datetime import timedelta
from typing import Any

from codestrator.calls import Caller, Tx
from codestrator.clock import parse, rfc3339
from codestrator.errors import Conflict
from codestrator.ids import ALPHABET, LENGTH
from codestrator.records import Intent

KEPT = timedelta(hours=24)
DROPPED_AT_ONCE = 5


def key_id(caller: Caller, method: str, key: str) -> str:
    """The intent's id of a key: the same for the same session, method and key, on every machine."""
    # Opening changes whose call the next one is: the caller would never find its own receipt again.
    # The keys of a child are its own: its siblings and its root count theirs as they like.
    alone = method == "session.open" or caller.kind == "child"
    asker = caller.actor if alone else caller.session_id
    from hashlib import sha256  # loads OpenSSL, which a call without a key need not wait for

    number = int.from_bytes(sha256(f"{asker}\0{method}\0{key}".encode()).digest()[:8])
    return "key-" + "".join(ALPHABET[(number >> (5 * place)) & 31] for place in range(LENGTH))


def repeated(tx: Tx, intent_id: str, digest: str, method: str) -> dict[str, Any] | None:
    """The first result of this key, marked as repeated; None if it was not used yet."""
    receipt = tx.get(Intent, intent_id)
    if receipt is None or (receipt.ended_at and parse(receipt.ended_at) + KEPT < tx.now.at):
        return None
    if receipt.params_digest != digest or receipt.method != method:
        raise Conflict(
            f"the idempotency key was used for another call of {receipt.method}, expected the same parameters",
            hint="Use a new key for a new call.",
            found=method,
            expected=receipt.method,
        )
    if receipt.state != "done" or receipt.outcome is None:
        return None
    return receipt.outcome | {"repeated": True}


def keep(tx: Tx, intent_id: str, method: str, digest: str, result: dict[str, Any]) -> None:
    """Keep the result for a day under its key, and drop a few receipts whose day is over."""
    tx.put(
        Intent(
            id=intent_id,
            method=method,
            machine=tx.machine,
            session_id=tx.caller.session_id,
            params_digest=digest,
            state="done",
            ended_at=tx.at,
            outcome=result,
        )
    )
    drop_old(tx, but=intent_id)


def drop_old(tx: Tx, but: str = "") -> None:
    """Drop a few intents that ended more than a day ago."""
    limit = rfc3339(tx.now.at - KEPT)
    old = [row.id for row in tx.rows(Intent) if row.ended_at and row.ended_at < limit and row.id != but]
    for intent_id in old[:DROPPED_AT_ONCE]:
        tx.drop(Intent, intent_id)
