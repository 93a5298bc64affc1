"""Makes our refs where there are none yet."""

import os
import time
from typing import TYPE_CHECKING

import pygit2

from codestrator import SCHEMA
from codestrator.errors import Busy
from codestrator.ports import Contention, Move
from codestrator.store.documents import canonical
from codestrator.store.objects import BLOB, Entry, cannot_write

if TYPE_CHECKING:
    from codestrator.store.store import Store

REST_SECONDS = (0.001, 0.01)


def make(store: "Store", ref: str, name: str, give_up: float) -> bool:
    """Make a ref with no document in it; False if it is there. `Busy` at that time of the monotonic clock."""
    while store.refs.read(ref) is None:
        store.refuse_vanished(ref)
        with store.gate() as held:
            try:
                meta = store.objects.write_blob(canonical({"id": "meta", "schema": SCHEMA, "authority": "local"}))
                root = store.objects.write_tree({b"meta.json": Entry(BLOB, meta)})
                commit = store.commit(root, [], 1, f"workspace.init {name}\n\nMachine: {store.machine}\n")
                store.refs.move([Move(ref, None, commit)])
                return True
            except Contention:
                if held:
                    store.refs.break_stale(ref)
                if time.monotonic() > give_up:
                    raise Busy(f"'{ref}' is locked by another program, expected to make it") from None
            except (OSError, pygit2.GitError) as error:
                raise cannot_write(store.common_dir, error) from error
        time.sleep(rest())
    return False


def rest() -> float:
    """Seconds, never the same for two writers that met."""
    low, high = REST_SECONDS
    return low + (high - low) * os.urandom(1)[0] / 255
