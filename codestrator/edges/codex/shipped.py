"""The files that `init --codex` places whole: skills, guides and role files."""

from pathlib import Path

from codestrator import guides, table
from codestrator.edges import reference

SKILLS = Path(__file__).parents[2] / "skills"
# Each skill, and the role whose methods its reference tells.
ROLE_OF = {
    "codestrator": table.ROOT_ROLES[0],
    "codestrator-worker": table.WORKER,
    "codestrator-reviewer": table.REVIEWER,
}
PARTS = ("SKILL.md", "agents/openai.yaml")
CONTRACTS = "references/method-contracts.md"
SKILLS_AT = ".agents/skills"


def files() -> dict[str, bytes]:
    """Each file's path in a worktree, and its content."""
    found: dict[str, bytes] = {}
    for skill, role in ROLE_OF.items():
        found |= {f"{SKILLS_AT}/{skill}/{part}": (SKILLS / skill / part).read_bytes() for part in PARTS}
        found[f"{SKILLS_AT}/{skill}/{CONTRACTS}"] = reference.contracts(role).encode()
    names = (*guides.GUIDES, *(guides.role_file_of(role) for role in table.ROLES))
    return found | {f"{guides.INSTALLED}/{name}": (guides.AGENTS / name).read_bytes() for name in names}
