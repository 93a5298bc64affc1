"""The state: documents in commits of hidden refs, published by compare-and-swap. The only home of pygit2."""

from codestrator.store.configuration import configuration
from codestrator.store.journal import Operation, Touched
from codestrator.store.notes import NoteBook
from codestrator.store.store import Mover, Store
from codestrator.store.transaction import Stamp, Transaction

__all__ = ["Mover", "NoteBook", "Operation", "Stamp", "Store", "Touched", "Transaction", "configuration"]
