"""What `AGENTS.md` says of us, to every agent that works here, between two marks."""

from codestrator.edges.codex.shared import Look, Part, Shared, at_the_end, verbatim

BEGIN, END = "<!-- codestrator: begin -->", "<!-- codestrator: end -->"
BLOCK = f"""\
{BEGIN}
## Working beside other agents

Agents share this repository through codestrator: the MCP server `codestrator`, in a shell `git codestrator`.

- Before you change files, use the skill `codestrator`: open a session, and edit only in the worktree that it names.
- Spawned as a child (`CODESTRATOR_THREAD_ID` is set)? Your guide and assignment lead; `codestrator-worker` and
  `codestrator-reviewer` are the skills of your trade.
- After a restart or a compaction call `orch_lifecycle` with `work.brief` first, then do its next unchecked step only.
- What another session has locked is not yours to edit. Leave `refs/codestrator/*`, `.git/codestrator/` and other
  sessions' worktrees and branches alone.
{END}
"""


def _look(words: str) -> Look:
    found = words.replace("\r\n", "\n")
    at = found.find(BEGIN)
    if at < 0:
        return Look("absent")
    end = found.find(END, at)
    if end < 0:
        return Look("left", f"the mark '{END}' is missing after '{BEGIN}'")
    ours = found[at : end + len(END)] == BLOCK.strip()
    return Look("ours") if ours else Look("left", "what stands between our marks was changed")


def _add(words: str) -> Part:
    return at_the_end(words, BLOCK)


GUIDANCE = Shared(
    path="AGENTS.md",
    adds="a block of guidance between marks",
    look=_look,
    add=_add,
    cuts=verbatim,
    rest=lambda words: None,  # any text is good
    is_blank=lambda words: not words.strip(),
)
