"""A file of the user's that has a part of ours: how the part is found, put in, and cut out again, all else untouched.

What was put in is kept word by word, so that cutting it out leaves the file as it was before, to the byte, wherever
else it has been changed since.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from codestrator.errors import WrongState

FORMS = {"toml": "TOML", "json": "JSON", "md": "text in UTF-8"}


class Look(NamedTuple):
    """`left`: there is something of that name that is not as we write it, and why it is left alone."""

    state: Literal["absent", "ours", "left"]
    why: str = ""


class Part(NamedTuple):
    """What we add to words: where, and which."""

    at: int
    words: str


class Shared(NamedTuple):
    """One such file; its functions raise ValueError for words that cannot be read."""

    path: str
    adds: str
    look: Callable[[str], Look]
    add: Callable[[str], Part]
    cuts: Callable[[str, str], Iterator[str]]
    rest: Callable[[str], Any]
    is_blank: Callable[[str], bool]

    def read(self, content: bytes | None) -> str:
        """Its words; refuses what is not what its name says."""
        try:
            words = (content or b"").decode()
            self.look(words)
        except (ValueError, RecursionError) as error:
            raise WrongState(
                f"'{self.path}' cannot be read: {_gist(error)}, expected {FORMS[self.path.rpartition('.')[2]]}",
                hint=f"Mend {self.path} by hand, or move it aside, then try again.",
                found=_gist(error),
                path=self.path,
            ) from None
        return words

    def with_ours(self, words: str) -> tuple[str, Part]:
        """The words with our part; refused where it cannot be put in without a change of anything else."""
        try:
            part = self.add(words)
            found = words[: part.at] + part.words + words[part.at :]
            if self.look(found).state == "ours" and self.rest(found) == self.rest(words):
                return found, part
        except (ValueError, RecursionError):
            pass
        raise WrongState(
            f"'{self.path}' has a form to which {self.adds} cannot be added alone, nothing was changed",
            hint=f"Add it by hand to {self.path}: {self.add('').words.strip()}",
            path=self.path,
        )

    def without(self, words: str, part: str) -> str | None:
        """The words without what was put in; None where it was changed since."""
        for found in self.cuts(words, part):
            try:
                if self.look(found).state == "absent" and self.rest(found) == self.rest(words):
                    return found
            except (ValueError, RecursionError):
                continue
        return None


def verbatim(words: str, part: str) -> Iterator[str]:
    """The words without that part, which git may have given other line ends meanwhile."""
    bare = part.replace("\r\n", "\n")
    for one in dict.fromkeys((part, bare, bare.replace("\n", "\r\n"))):
        if words.count(one) == 1:
            yield words.replace(one, "")


def line_end(words: str) -> str:
    return "\r\n" if "\r\n" in words else "\n"


def at_the_end(words: str, block: str) -> Part:
    """A block after all else, in the file's own line ends and with a blank line before it."""
    end = line_end(words)
    gap = "" if not words.strip("\ufeff") else end if words.endswith("\n") else end * 2
    return Part(len(words), gap + block.replace("\n", end))


def _gist(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
