"""What is sent to a child: directives, each with its receipts, and messages of its inbox."""

from typing import Any, NamedTuple

from codestrator.errors import Forbidden, NotFound, WrongState
from codestrator.runner import prompt
from codestrator.runner.channel import Channel
from codestrator.runner.prompt import Author, Quoted
from codestrator.runner.show import Screen

PATCH = "interrupt_patch"


class Words(NamedTuple):
    """A turn's prompt, and the directives and messages that reach the agent by it."""

    prompt: str
    directives: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()

    def then(self, more: "Words") -> "Words":
        prompt = f"{self.prompt}\n\n{more.prompt}"
        return Words(prompt, self.directives + more.directives, self.messages + more.messages)


UNSAID = Words("")


class Post:
    """Takes what was sent, in the order in which it was sent, and makes it the prompt of a turn."""

    def __init__(self, channel: Channel, screen: Screen) -> None:
        self._channel = channel
        self._screen = screen
        self._taken: list[dict[str, Any]] = []
        self._owed: list[str] = []

    def cuts(self, unsaid: Words | None) -> bool:
        """Whether something was taken, beside what is being said, for which the turn that runs is cut off."""
        return any(one["mode"] == PATCH for one in self._fresh(unsaid))

    def take(self) -> None:
        """Take the directives that were sent: they are delivered with that."""
        for one in self._channel.directives("queued"):
            if self._receipts([one["directive_id"]], "delivered"):
                self._screen.line("◆", f"directive {one['directive_id']} ({one['mode']}): {one['text']}")
                self._taken.append(one)

    def paste(self) -> None:
        """Paste them into the pane of a program that waits for words there; that is all that is known of them then."""
        for one in self._channel.directives("queued"):
            if not self._channel.paste(one["text"]):
                return
            self._receipts([one["directive_id"]], "delivered", detail="pasted into its pane")
            self._screen.line("◆", f"directive {one['directive_id']} was pasted")

    def words(self, unsaid: Words | None) -> Words | None:
        """What was sent beside what is still unsaid: directives, those that cut a turn off first; else messages."""
        if self._taken:
            still = {one["directive_id"] for one in self._channel.directives("delivered")}
            self._taken = [one for one in self._taken if one["directive_id"] in still]  # the others have expired
        if fresh := self._fresh(unsaid):
            cut = any(one["mode"] == PATCH for one in fresh)
            sent = sorted(fresh, key=lambda one: one["mode"] != PATCH)
            found = [Quoted(one["directive_id"], one["text"], self._author(one["sender"])) for one in sent]
            return Words(prompt.directive_prompt(found, interrupted=cut), tuple(one.id for one in found))
        letters = self._letters(unsaid)
        return Words(prompt.inbox_prompt(letters), messages=tuple(one.id for one in letters)) if letters else None

    def _fresh(self, unsaid: Words | None) -> list[dict[str, Any]]:
        return [one for one in self._taken if one["directive_id"] not in (unsaid or UNSAID).directives]

    def begun(self, words: Words, turn: int) -> None:
        """The turn of these words has begun: what it carries out is applied. What cannot be published is owed."""
        self._taken = [one for one in self._taken if one["directive_id"] not in words.directives]
        self._owed += words.directives
        self.settle(turn)
        for one in words.directives:
            self._screen.line("◆", f"directive {one} is applied by turn {turn}")
        for message_id in words.messages:
            self._channel.call("inbox.deliver", message_id=message_id)

    def settle(self, turn: int) -> None:
        """Publish what is owed."""
        if self._owed:
            self._receipts(self._owed, "applied", turn=turn)
            self._owed = []

    def _receipts(self, ids: list[str], state: str, detail: str | None = None, **given: Any) -> bool:
        """Report them, in one publish if all are taken; whether the last was."""
        receipts = [{"directive_id": one, "state": state} | ({"detail": detail} if detail else {}) for one in ids]
        try:
            self._channel.report(receipts=receipts, **given)
            return True
        except (WrongState, NotFound) as error:  # expired in this very moment
            if not ids or self._channel.ended:
                raise
            self._screen.trouble(error.message)
        if len(ids) > 1:
            return [self._receipts([one], state, detail, **given) for one in ids][-1]
        self._channel.report(**given)
        return False

    def _letters(self, unsaid: Words | None) -> list[Quoted]:
        try:
            found = self._channel.call("inbox.pending")["items"]
        except Forbidden:
            return []  # a role without an inbox
        said = (unsaid or UNSAID).messages
        return [Quoted(one["id"], one["text"], self._author(one["sender"])) for one in found if one["id"] not in said]

    def _author(self, thread_id: str) -> Author:
        return Author(thread_id, self._channel.file.session_id)
