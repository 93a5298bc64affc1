"""What well-known keys look like: once pushed, a key is everybody's who has the repository."""

import re

SHAPES = {
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "an AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a GitHub token": r"\bgh[pousr]_[0-9A-Za-z]{36,}|\bgithub_pat_[0-9A-Za-z_]{22,}",
    "a GitLab token": r"\bglpat-[0-9A-Za-z_-]{20,}",
    "an OpenAI or Anthropic key": r"\bsk-(?:proj-|ant-|svcacct-)?[0-9A-Za-z_-]{32,}",
    "a Slack token": r"\bxox[abprs]-[0-9A-Za-z-]{10,}",
    "a Google API key": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "an npm token": r"\bnpm_[0-9A-Za-z]{36}\b",
}
_COMPILED = {name: re.compile(shape) for name, shape in SHAPES.items()}


def seen_in(text: str) -> list[str]:
    """The kinds of keys that a text seems to hold.

    >>> seen_in("AKIA" + "Q" * 16), seen_in("nothing")
    (['an AWS access key'], [])
    """
    return [name for name, shape in _COMPILED.items() if shape.search(text)]
