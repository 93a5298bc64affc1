"""Codex and this repository: what `init --codex` places for it, and which conversation of it works on what."""
