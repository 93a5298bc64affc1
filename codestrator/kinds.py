"""Which program an agent is: the kinds there are, and the one that can really run here. Imports no agent's library."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from codestrator.errors import Unsupported

DEFAULT = "agents_sdk_codex_mcp"
WITHOUT_EXTRA = "codex_app_server"
# Module and class of each kind; a module is imported when an agent of its kind is made.
KINDS = {
    DEFAULT: ("sdk", "SdkAgent"),
    WITHOUT_EXTRA: ("app_server", "AppServerAgent"),
    "codex_exec": ("exec", "ExecAgent"),
    "command": ("command", "CommandAgent"),
}
# A model key opens OpenAI's own service; any other address is a provider that somebody configured.
OPENAI_HOST = "openai.com"


def resolve(kind: str, environment: Mapping[str, str]) -> tuple[str, str | None]:
    """The kind that can run with this environment, and why where it is not the one asked for."""
    known(kind)
    if kind != DEFAULT:
        return kind, None
    because = _missing(environment)
    return (WITHOUT_EXTRA, because) if because else (kind, None)


def known(kind: str) -> tuple[str, str]:
    if kind not in KINDS:
        raise Unsupported(
            f"runner_kind '{kind}' is not offered, expected one of: {', '.join(KINDS)}",
            hint="Leave `runner_kind` out for the default.",
            field="runner_kind",
            found=kind,
            offered=list(KINDS),
        )
    return KINDS[kind]


def _missing(environment: Mapping[str, str]) -> str | None:
    """What the Agents SDK lacks here."""
    if not sdk_installed():
        return "the Agents SDK is not installed: pip install 'codestrator[agents]'"
    if not environment.get("OPENAI_API_KEY", "").strip() and not provider(environment):
        return "there is no model key: OPENAI_API_KEY is not set, and OPENAI_BASE_URL names no provider of its own"
    return None


def sdk_installed() -> bool:
    """Whether the extra is there; a folder `agents` of the work at hand, which Python finds too, is not it."""
    found = find_spec("agents")
    return bool(
        found and found.origin and (Path(found.origin).parent / "mcp" / "server.py").is_file() and find_spec("openai")
    )


def provider(environment: Mapping[str, str]) -> str | None:
    """The address of a model server other than OpenAI's, which may need no key."""
    address = environment.get("OPENAI_BASE_URL", "").strip()
    host = urlsplit(address).hostname or ""
    return address if host and host != OPENAI_HOST and not host.endswith(f".{OPENAI_HOST}") else None
