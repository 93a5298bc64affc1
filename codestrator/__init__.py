"""Coordinates parallel coding agents in one Git repository, with all state in hidden refs of that repository."""

__version__ = "0.1.0"
SCHEMA = 1
