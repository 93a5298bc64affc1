"""Runs a method of the table for a caller: checks role and identity, validates, publishes once, shows the result."""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import msgspec

from codestrator import cleaning, identity, ids, params, receipts, seats, table
from codestrator.calls import Flow, Seat, Tx
from codestrator.errors import AmbiguousId, Forbidden, InvalidParams, NotFound
from codestrator.model import Document, Presented, shown
from codestrator.params import P, Params
from codestrator.ports import World
from codestrator.records import KINDS, Lease, Task
from codestrator.shapes import known

KEY_BYTES = 64
# Where what exists of a kind is listed.
LISTED = {
    "task": "task.list",
    "session": "session.list with include_closed true",
    "thread": "thread.child.list",
    "worktree": "worktree.list",
    "lock": "lock.list",
    "node": "graph.node.list",
    "message": "inbox.list",
    "directive": "thread.directive.list",
    "rescue": "rescue.list",
    "land": "merge.main.status",
    "merge_request": "merge.main.status",
    "review": "merge.main.status",
    "checkpoint": "task.get",
}


class Handler(NamedTuple):
    """What does a method: its function, its parameters, and whether it acts on the world or only on a picture."""

    run: Callable[[Any, Any], Any]
    want: type[Params]
    acts: bool


@cache
def handler(name: str) -> Handler:
    """The function behind a method of the table, imported when it is first needed."""
    module_name, _, function = table.METHODS[name].does.partition(".")
    module = import_module(f"codestrator.methods.{module_name}")
    run = getattr(module, function)
    first, second = inspect.signature(run).parameters.values()
    want = second.annotation if isinstance(second.annotation, type) else getattr(module, second.annotation)
    return Handler(run, want, first.name == "flow")


def summary(name: str) -> str:
    """What a method does, in one line."""
    return (inspect.getdoc(handler(name).run) or "").split("\n")[0]


def details(name: str) -> str:
    """The rest of what there is to say of it."""
    return "\n".join((inspect.getdoc(handler(name).run) or "").split("\n")[1:]).strip()


def shapes(name: str) -> tuple[params.Shape, ...]:
    """The parameters of a method; for that it is not loaded."""
    return known()[name]


def signature(name: str) -> str:
    """The call in one line: required parameters first."""
    ordered = sorted(shapes(name), key=lambda shape: not shape.required)
    return f"{name}({', '.join(shape.signature() for shape in ordered)})"


def call(world: World, seat: Seat, name: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Run one method and return its result as JSON values; every refusal is a `CodestratorError`."""
    try:
        return _call(world, seat, name, given)
    except NotFound as error:
        if error.hint is None and (where := LISTED.get(error.details.get("kind", ""))):
            error.hint = f"See what there is with {where}; what another machine made may need sync.run first."
        raise


def _call(world: World, seat: Seat, name: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    method = find(name)
    _check_role(seat, method)
    fields = dict(given or {})
    at, key = _envelope(method, fields)
    do = handler(name)
    want = cleaning.parse(do.want, name, fields, world.roots)
    caller = seats.caller_for(world, seat, method, want, lambda tx, one: whole_id(tx, one, "session_id"))
    if method.kind == "read" and not do.acts:
        tx = Tx(world.store.read(at), caller, world.live, world.settings, (str(world.repo),))
        want = resolve(tx, want)
        identity.check(tx if at is None else seats.look(world, caller), method, want)
        return present(do.run(tx, want))
    op = ids.mint("op")
    intent_id = receipts.key_id(caller, name, key) if key else op
    flow = Flow(world, world.store, caller, seat, name, op, intent_id, lambda: digest(name, want))
    return (_run_flow if do.acts else _run_write)(flow, do, want, bool(key))


def recover(world: World) -> None:
    """What a process does once when it starts: settle what dead ones left on this machine."""
    import_module("codestrator.methods.recovery").recover(_by_itself(world, "recovery"))


def reconcile(world: World) -> None:
    """What a root's server does again and again: make the states of children true whose runner is gone."""
    if world.store.initialised:
        import_module("codestrator.methods.reconciling").reconcile(_by_itself(world, "reconciliation"))
    if world.settings.authority == "remote":
        import_module("codestrator.methods.authority").renew(_by_itself(world, "renewal"))


def rewritten(world: World, pairs: Mapping[str, str]) -> int:
    """What the hook does after an amend or a rebase: checkpoints and their notes follow the old commits to the new."""
    if not world.store.initialised:
        return 0
    found: int = import_module("codestrator.methods.rewriting").follow(_by_itself(world, "rewrite"), pairs)
    return found


def _by_itself(world: World, what: str) -> Flow:
    seat = Seat("operator")
    return Flow(world, world.store, seats.describe(world, seat, None), seat, what, ids.mint("op"), "", str)


def find(name: str) -> table.Method:
    """The method of that name; refuses an unknown one with the nearest."""
    if name in table.METHODS:
        return table.METHODS[name]
    close = cleaning.nearest(name, tuple(table.METHODS))
    raise InvalidParams(
        f"unknown method '{name[:80]}'" + (f", nearest is '{close}'" if close else ", expected a method of the table"),
        hint=f"Call {close}." if close else "Call runtime.bundle.info for what there is.",
        field="method",
        found=name[:80],
        nearest=close,
    )


def _check_role(seat: Seat, method: table.Method) -> None:
    if table.allows(seat.kind, seat.role, method.name):
        return
    who, role = seat.thread_id or "this folder's shell", seat.role
    hint = "Ask the root: call inbox.send with receiver_thread_id 'root'."
    if seat.kind == "bystander":
        role, hint = "bystander", "Go to a folder where no child works; a child's own shell names its private file."
    elif not table.may_call(role, "inbox.send"):
        hint = "Ask the root: call thread.child.report with a question."
    needs = " or ".join(repr(one) for one in ("root", *method.roles))
    raise Forbidden(
        f"role '{role}' of '{who}' may not call {method.name}, needs {needs}",
        hint=hint,
        role=role,
        method=method.name,
        needs="root",
    )


def _envelope(method: table.Method, fields: dict[str, Any]) -> tuple[str | None, str | None]:
    """Take out what belongs to no method of its own: `at` of reads, `idempotency_key` of the others."""
    at = fields.pop("at", None) if method.at else None
    key = fields.pop("idempotency_key", None) if method.kind != "read" else None
    if at is not None and not (isinstance(at, str) and ids.is_start(at) and at.startswith("op-")):
        raise InvalidParams(
            f"'at' is '{str(at)[:80]}', expected an operation's id", field="at", found=str(at)[:80], expected="op-…"
        )
    if key is not None and not (isinstance(key, str) and key.strip() and len(key.encode()) <= KEY_BYTES):
        raise InvalidParams(
            f"'idempotency_key' of {method.name} is not a text of 1 to {KEY_BYTES} bytes",
            field="idempotency_key",
            expected=f"text({KEY_BYTES})",
        )
    return at, key


def digest(name: str, want: Params) -> str:
    from hashlib import sha256  # loads OpenSSL, which what only reads need not wait for

    return sha256(name.encode() + b"\0" + msgspec.json.encode(want, order="sorted")).hexdigest()


def _run_flow(flow: Flow, do: Handler, want: Params, keyed: bool) -> dict[str, Any]:
    asks = bool(flow.caller.kind == "child" or flow.caller.session_id or any(params.id_fields(want)))
    known = (keyed or asks) and flow.store.initialised  # what comes first in a repository has nothing to look into
    if (
        keyed
        and known
        and (repeated := receipts.repeated(flow.read(), flow.intent_id, flow.params_digest, flow.method))
    ):
        return repeated
    if known and asks:
        tx = flow.read()
        want = resolve(tx, want)
        identity.check(tx, find(flow.method), want)
    result = present(do.run(flow, want))
    if keyed:
        flow.transact(lambda tx: receipts.keep(tx, flow.intent_id, flow.method, flow.params_digest, result))
    return result


def _run_write(flow: Flow, do: Handler, want: Params, keyed: bool) -> dict[str, Any]:
    def act(tx: Tx) -> dict[str, Any]:
        if keyed and (repeated := receipts.repeated(tx, flow.intent_id, flow.params_digest, flow.method)):
            return repeated
        whole = resolve(tx, want)
        identity.check(tx, find(flow.method), whole)
        result = present(do.run(tx, whole))
        if keyed:
            receipts.keep(tx, flow.intent_id, flow.method, flow.params_digest, result)
        return result

    return flow.transact(act, _about(flow.method, want))


def _about(method: str, want: Params) -> str:
    """The id that the journal's subject names: the first one given that is not only who asks.

    What is made new is named by the store: its id is minted in there.
    """
    if method.endswith((".create", ".send")):
        return ""
    given = [value for shape, value in params.id_fields(want) if isinstance(value, str)]
    mine = ("ses-", "thr-")
    return next((value for value in given if not value.startswith(mine)), given[0] if given else "")


def resolve(tx: Tx, want: P) -> P:
    """Replace each unambiguous beginning of an id by the whole id."""
    changes: dict[str, Any] = {}
    for shape, given in params.id_fields(want):
        if isinstance(given, str):
            changes[shape.name] = whole_id(tx, given, shape.name)
        else:
            changes[shape.name] = tuple(whole_id(tx, one, shape.name) for one in given)
    changed = {name: value for name, value in changes.items() if value != getattr(want, name)}
    return want.but(**changed) if changed else want


def whole_id(tx: Tx, given: str, field: str) -> str:
    """The one id that begins so; refuses none and several."""
    head, dot, number = given.partition(".")
    if ids.is_whole(head) or ids.prefix_of(head) in ("op", "key"):
        return given
    kind = KINDS.get(ids.KIND_OF_PREFIX[ids.prefix_of(head)])
    matches = tx.base.starting(head, [kind]) if kind else []
    if len(matches) == 1:
        return f"{matches[0]}{dot}{number}"
    name = ids.KIND_OF_PREFIX[ids.prefix_of(head)]
    if not matches:
        hint = "Give the whole id; if another machine made it, call sync.run first." if tx.settings.remote else None
        raise NotFound(f"no {name} '{given}'", hint=hint, kind=name, id=given, field=field)
    raise AmbiguousId(
        f"'{given}' matches {len(matches)} {name}s, expected exactly one",
        hint="Give more characters of the id.",
        candidates=[{"id": one, "title": _title(tx, kind, one)} for one in matches[:10]],
    )


def _title(tx: Tx, kind: type[Document] | None, document_id: str) -> str:
    document = tx.get(kind, document_id) if kind else None
    if isinstance(document, Lease):
        return document.scope_path or ""
    found: str | None = (
        getattr(document, "title", None) or getattr(document, "worktree_slug", None) or getattr(document, "slug", None)
    )
    return found or ("" if isinstance(document, Task) else str(getattr(document, "status", "")))


def present(result: Any) -> dict[str, Any]:
    """A result as JSON values: documents without what is kept for storage only, nothing absent."""
    found = _plain(result)
    assert isinstance(found, dict)
    return found


def _plain(value: Any) -> Any:
    if type(value) is Presented:
        return value
    if isinstance(value, Document):
        return shown(value)
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
