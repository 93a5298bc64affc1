"""Cleans and bounds text and paths that callers give; puts other people's words inside a labelled fence."""

import os
import re
from collections.abc import Callable
from functools import cache
from typing import Literal

from codestrator.errors import InvalidParams

# Terminal escapes first, so that their printable tail goes too.
_ESCAPES = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])"
# C0 and C1 controls but newline and tab; bidirectional controls (Unicode 16, UAX 9, section 2); lone surrogates.
_UNWANTED = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"

# A short line that ends as prompts do; a line that asks.
_PROMPT = "^.{0,60}[>$#%\u276f\u203a\u00bb:]\\s*$"
_QUESTION = r"^.{0,200}(?:\?|[\[(][yY]/[nN][\])])\s*:?\s*$"

TITLE_CHARACTERS = 300
SUMMARY_BYTES = 8 * 1024
MESSAGE_BYTES = 64 * 1024
JSON_BYTES = 64 * 1024


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compiled when first needed: a millisecond each, which most commands need not pay."""
    return re.compile(pattern)


def waits_for(screen: str) -> Literal["idle", "waiting_user_answer"] | None:
    """What a program whose last line on the screen this is waits for: words at a prompt, or an answer to a question."""
    line = next((one for one in reversed(screen.splitlines()) if one.strip()), "")
    if _compiled(_QUESTION).search(line):
        return "waiting_user_answer"
    return "idle" if _compiled(_PROMPT).search(line) else None


def replace_unwanted(text: str, by: Callable[[str], str]) -> str:
    """The text with each character that could act on a terminal, or that nobody sees, replaced."""
    return text if text.isprintable() else _compiled(_UNWANTED).sub(lambda found: by(found[0]), text)


def clean(text: str) -> str:
    """Remove control characters, terminal escapes and bidirectional controls; trim."""
    if text.isprintable():
        return text.strip()
    without = _compiled(_ESCAPES).sub("", text.replace("\r\n", "\n"))
    return _compiled(_UNWANTED).sub("", without).strip()


def one_line(text: str) -> str:
    return " ".join(clean(text).split())


def counted(number: int, one: str, more: str = "") -> str:
    """`1 file`, `2 files`; `more` is for words whose plural has not just an s."""
    return f"{number} {one if number == 1 else more or one + 's'}"


def size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def shorten(text: str, limit: int) -> str:
    """Cut to at most `limit` characters, marking the cut."""
    return text if len(text) <= limit else text[: max(0, limit - 1)].rstrip() + "…"


def tokens(text: str) -> int:
    """Estimate tokens: four bytes of UTF-8 count as one."""
    return -(-size(text) // 4)


def fence(text: str, label: str) -> str:
    """Quote someone else's words for an agent, between marks that the text cannot contain."""
    nonce = os.urandom(4).hex()
    while nonce in text:
        nonce = os.urandom(4).hex()
    return f"<<<data {nonce}: {label}>>>\n{text}\n<<<end {nonce}>>>"


def repository_path(text: str, field: str, roots: Callable[[], tuple[str, ...]] = tuple) -> str:
    """Bring a path to the contract's form: relative to the repository, forward slashes, no `..`, no trailing slash.

    An absolute path inside one of what `roots` gives is converted; every other one is refused.
    """

    def refuse(found: str) -> InvalidParams:
        return InvalidParams(
            f"'{field}' has the path '{one_line(text)[:200]}' {found}, expected one inside the repository",
            hint="Give the path relative to the repository's root.",
            field=field,
            found=one_line(text)[:200],
            expected="a path relative to the repository",
        )

    import unicodedata  # half a millisecond, for those who give paths

    path = unicodedata.normalize("NFC", text.strip())
    if not path or _compiled(_UNWANTED).search(path) or "\n" in path or "\t" in path:
        raise refuse("that is empty or has control characters")
    if path.startswith("-"):
        raise refuse("that begins with a dash")
    if path.startswith("/"):
        inside = [root for root in roots() if path == root or path.startswith(root.rstrip("/") + "/")]
        if not inside:
            raise refuse("that lies outside")
        path = path[len(max(inside, key=len).rstrip("/")) :]
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise refuse("with '..'")
    if parts and parts[0].startswith("-"):
        raise refuse("that begins with a dash")
    if parts and parts[0].lower() == ".git":
        raise refuse("inside the git directory")
    return "/".join(parts) or "."
