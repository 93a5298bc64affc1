"""Makes the agent of a kind; its library is imported then."""

from importlib import import_module

from codestrator.kinds import known
from codestrator.runner.agent import Agent, AgentSettings, Events


def make(kind: str, settings: AgentSettings, events: Events) -> Agent:
    """An agent of a resolved kind, not yet started."""
    module, name = known(kind)
    agent: Agent = getattr(import_module(f"codestrator.runner.{module}"), name)(settings, events)
    return agent
