"""Makes the agent of a kind; its library is imported then."""

from importlib import import_module

from codestrator.errors import External
from codestrator.kinds import known
from codestrator.runner.agent import Agent, AgentSettings, Events


def make(kind: str, settings: AgentSettings, events: Events) -> Agent:
    """An agent of a resolved kind, not yet started."""
    name, made = known(kind)
    try:
        module = import_module(f"codestrator.runner.{name}")
    except ImportError as error:  # what was there when the kind was resolved is there no more
        raise External(
            f"runner_kind '{kind}' cannot run here: {error}, expected its libraries to be installed",
            hint="Install them: pip install 'codestrator[agents]', or spawn with runner_kind codex_app_server.",
            program="pip",
        ) from None
    agent: Agent = getattr(module, made)(settings, events)
    return agent
