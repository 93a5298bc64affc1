"""Every refusal: its stable code, its message, its hint, and the one table from code to exit status.

A message is lower case, has no full stop, quotes its subject in single quotes and says what was found and what
was expected. A hint is one sentence that names a safe next call, never a destructive one.
"""

from typing import Any, ClassVar

EXIT_STATUS = {
    "invalid_params": 2,
    "not_found": 3,
    "ambiguous_id": 2,
    "lock_held": 4,
    "conflict": 4,
    "forbidden": 4,
    "wrong_state": 4,
    "limit": 4,
    "stale_fence": 4,
    "busy": 5,
    "external": 1,
    "offline": 1,
    "unsupported": 2,
    "diverged": 6,
    "schema_newer": 6,
    "unreadable_state": 7,
    "internal": 1,
}


class CodestratorError(Exception):
    """The base of all errors that reach a caller; `details` holds what a program needs to act on it."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = {key: value for key, value in details.items() if value is not None}

    @property
    def exit_status(self) -> int:
        return EXIT_STATUS[self.code]

    def as_dict(self) -> dict[str, Any]:
        """The error object of every edge."""
        found: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.hint:
            found["hint"] = self.hint
        if self.details:
            found["details"] = self.details
        return found | {"retryable": self.retryable}


class Refused(CodestratorError):
    """A rule said no; nothing was changed."""


class InvalidParams(Refused):
    """A parameter is missing, unknown, malformed or too large."""

    code = "invalid_params"


class AmbiguousId(Refused):
    """The beginning of an id matches several documents."""

    code = "ambiguous_id"


class Unsupported(Refused):
    """A value is known but deliberately not offered."""

    code = "unsupported"


class NotFound(Refused):
    """An id, a ref or a path is unknown."""

    code = "not_found"


class Conflict(Refused):
    """A name is taken, a cycle would arise, a merge conflicts, or another holds the claim."""

    code = "conflict"


class WrongState(Refused):
    """The thing is not in a state that allows this."""

    code = "wrong_state"


class Forbidden(Refused):
    """Role, scope or ownership forbids it."""

    code = "forbidden"


class LockHeld(Refused):
    """A live lease of another holder overlaps, or an earlier waiter is due."""

    code = "lock_held"
    retryable = True


class StaleFence(Refused):
    """The caller's lease was lost to a newer grant."""

    code = "stale_fence"


class Limit(Refused):
    """A capacity is used up."""

    code = "limit"
    retryable = True


class Busy(CodestratorError):
    """Publishing lost the race for too long, or another program holds a ref; the same call may work later."""

    code = "busy"
    retryable = True


class NeedsPerson(CodestratorError):
    """No rule can decide this."""


class Diverged(NeedsPerson):
    """Two histories cannot be merged by rule."""

    code = "diverged"


class SchemaNewer(NeedsPerson):
    """The state was written by a newer program."""

    code = "schema_newer"


class UnreadableState(CodestratorError):
    """A document, the lock book or a ref is damaged."""

    code = "unreadable_state"


class WorldError(CodestratorError):
    """The world around the repository failed."""


class External(WorldError):
    """Git, tmux, an agent program or the file system failed."""

    code = "external"


class Offline(WorldError):
    """The remote did not answer in time."""

    code = "offline"
    retryable = True


class Internal(CodestratorError):
    """Something unforeseen happened; nothing was published."""
