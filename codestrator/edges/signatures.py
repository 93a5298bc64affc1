"""A method in one line for a model: as short as lets it be called right, in the notation of the instructions.

The reference and the refusals have each parameter with its whole type; what stands here is read anew by every agent.
"""

from collections.abc import Iterable, Sequence

from codestrator.params import Shape

PAGING = {"limit", "cursor"}
# They say whose call it is, which the server knows; the first two select where they are given to a list.
SELECTING = {"session_id", "thread_id"}
CALLER = {*SELECTING, "owner_session", "owner_session_id", "requester_session_id", "sender_thread_id"}
# Their defaults are right for nearly every call: a model is told that they exist, and no more.
RARE = {
    *("agent_role", "always_branch", "heartbeat_timeout_seconds", "owner", "terminal_fingerprint"),
    *("agent_guide_path", "agent_override", "codex_command", "launch_codex", "provider", "reviewer_role"),
    *("auto_install", "ensure_tmux", "skip_ready_check", "split_direction", "tmux_session_name", "tmux_window_name"),
    *("approval_state", "expected_updated_at", "expected_version", "facet", "notes_json", "pid"),
}
# What a row of optional parameters cannot say.
EITHER = {
    "lock.acquire": "scope_type and scope_path, or scopes",
    "step.check": "step_id, or case_id and step_title",
}
FAR = 100_000  # a bound that nobody comes near is not told


def lines(methods: Iterable[tuple[str, Sequence[Shape]]]) -> list[str]:
    """The signatures of one tool's methods; what one of them tells of a parameter, the next ones do not repeat."""
    told: dict[str, str] = {}
    return [_line(name, shapes, told) for name, shapes in methods]


def unsaid(shapes: Iterable[Shape]) -> set[str]:
    """The parameters of a method that the instructions tell for all methods together."""
    optional = {shape.name for shape in shapes if not shape.required}
    hidden = optional & CALLER
    return hidden - SELECTING | PAGING if optional >= PAGING else hidden


def _line(name: str, shapes: Sequence[Shape], told: dict[str, str]) -> str:
    hidden = unsaid(shapes)
    rare = [shape.name for shape in shapes if shape.name in RARE and not shape.required]
    shown = [shape for shape in shapes if shape.name not in hidden.union(rare)]
    parts = [_one(shape, told) for shape in sorted(shown, key=lambda shape: not shape.required)]
    parts += ["…"] if hidden >= PAGING else []
    parts += ["rarely " + ", ".join(rare)] if rare else []
    return f"{name}({', '.join(parts)})" + (f": {EITHER[name]}" if name in EITHER else "")


def _one(shape: Shape, told: dict[str, str]) -> str:
    text = shape.name + ("" if shape.required else "?")
    default = "" if shape.default in (None, (), "", {}) else _literal(shape.default)
    text += default and f"={default}"
    if told.get(shape.name) == shape.type_text:
        return text
    told[shape.name] = shape.type_text
    if shape.form == "enum" and default:
        return "|".join([text, *(choice for choice in shape.choices if choice != default)])
    kind = _kind(shape, told)
    # A default shows by itself that a number or a truth value is wanted.
    return text if not kind or (default and kind in ("int", "bool", "number")) else f"{text}: {kind}"


def _kind(shape: Shape, told: dict[str, str]) -> str:
    """What the name does not tell of the type."""
    match shape.form:
        case "text" | "title" | "path":
            return ""
        case "id":
            plain = shape.name.endswith(("_id", "_ids", "_session")) or shape.type_text == f"id({shape.name})"
            return "" if plain else shape.type_text.replace("(any)", "")
        case "json":
            return "{}"
        case "list" if shape.item:
            return f"[{_kind(shape.item, told)}]"
        case "object":
            return "{" + ", ".join(_one(field, told) for field in shape.fields) + "}"
        case "int":
            return _range(shape.low or 0, shape.high)
    return shape.type_text


def _range(low: int, high: int | None) -> str:
    if high is None or high >= FAR:
        return f"{low}.." if low else "int"
    return f"{low}..{high}"


def _literal(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
