"""What is configured: our own settings, refspecs that would write over our refs, the remote, who grants leases."""

import re
import shlex

from codestrator.errors import CodestratorError
from codestrator.methods import authority as granting
from codestrator.methods.doctor.look import Found, Look, error, ok, warning
from codestrator.text import counted

REMOTE_SECONDS = 10.0
OURS = ("refs/codestrator/state", "refs/notes/codestrator")
LOST = "a fetch, or a fetch with --prune, would write over or delete what only this clone has"
PUSHED = "a plain git push would write over or delete what other clones have shared"


def settings(look: Look) -> Found:
    """Every `codestrator.*` of the configuration is known, and in its range."""
    for wrong in look.settings.wrong:
        name = wrong.details["field"]
        yield error(wrong.message, "every other call is refused", f"git config --show-origin --get-all {name}")
    known = {f"codestrator.{name.lower()}": name for name in look.settings.known}
    seen = set()
    for scope, key in _keys(look, r"^codestrator\."):
        seen.add(key)
        if key not in known:
            undo = f"git config --{scope} --unset-all {shlex.quote(key)}"
            yield warning(f"git config '{key}' is unknown", "it has no effect", undo)
    if not look.settings.wrong and seen <= known.keys():
        yield ok(f"{counted(len(seen), 'setting')} of ours in the configuration")


def _keys(look: Look, pattern: str) -> list[tuple[str, str]]:
    """Scope and name of each key that fits."""
    words = ("config", "--null", "--show-scope", "--name-only", "--get-regexp", pattern)
    parts = look.git(*words)[1].split("\0")
    return [(scope, key) for scope, key in zip(parts[::2], parts[1::2], strict=False) if key]


def refspecs(look: Look) -> Found:
    """No configured fetch writes to refs of ours, and no configured push sets them back."""
    parts = look.git("config", "--null", "--show-scope", "--get-regexp", r"^remote\..*\.fetch$")[1].split("\0")
    bad = 0
    for scope, line in zip(parts[::2], parts[1::2], strict=False):
        key, _, value = line.partition("\n")
        target = value.lstrip("+^").partition(":")[2]
        if value.startswith("^") or not any(_covers(target, ref) for ref in OURS):
            continue
        bad += 1
        undo = f"git config --{scope} --fixed-value --unset {shlex.quote(key)} {shlex.quote(value)}"
        make = error if value.startswith("+") and _covers(target, OURS[0]) else warning
        yield make(f"git config '{key}' is '{value}', expected no refs of codestrator in it", LOST, undo)
    for item in _forced(look):
        bad += 1
        yield item
    if not bad:
        yield ok("no configured fetch writes to refs of ours, and no push by force")


def _forced(look: Look) -> Found:
    """Pushes that would set a remote back to what this clone has of ours, or delete what it has not fetched."""
    parts = look.git("config", "--null", "--show-scope", "--get-regexp", r"^remote\..*\.(push|mirror)$")[1].split("\0")
    for scope, line in zip(parts[::2], parts[1::2], strict=False):
        key, _, value = line.partition("\n")
        source, colon, target = value.lstrip("+").partition(":")
        forced = value.startswith("+") and any(_covers(target if colon else source, ref) for ref in OURS)
        if forced or (key.endswith(".mirror") and value.lower() in ("true", "yes", "on", "1", "")):
            undo = f"git config --{scope} --fixed-value --unset {shlex.quote(key)} {shlex.quote(value)}"
            yield warning(f"git config '{key}' is '{value}', expected no refs of codestrator in it", PUSHED, undo)


def _covers(target: str, ref: str) -> bool:
    """Whether a refspec's right side reaches that ref, or what lies beside it in its folder."""
    return re.fullmatch(re.escape(target).replace(r"\*", ".*"), ref) is not None


def remote(look: Look) -> Found:
    """The remote that is to be shared with answers."""
    name = look.settings.remote
    if name is None:
        yield ok("no remote to share with")
        return
    if not look.world.remotes.known(name):  # renamed, removed, or an address: sync takes names alone
        said = f"remote '{name}' of git config codestrator.remote is none that git knows"
        yield error(said, "nothing is shared; the local state is unchanged", "git remote --verbose")
        return
    try:
        there = look.world.remotes.listed(name, seconds=min(REMOTE_SECONDS, look.settings.sync_timeout))
    except CodestratorError as problem:
        call = f"git ls-remote -- {shlex.quote(name)}"
        yield error(f"remote '{name}': {problem.message}", "nothing is shared; the local state is unchanged", call)
    else:
        yield ok(f"remote '{name}' answers, with {counted(len(there), 'ref')} of ours")


def authority(look: Look) -> Found:
    """The lock book and this clone agree on who grants leases."""
    used, mine = granting.agreed(look.tx), look.settings.authority
    if used == mine:
        yield ok(f"authority '{mine}'")
    elif granting.goes_over(look.tx):
        yield ok(f"authority '{mine}', from the first grant on")
    else:
        yield error(
            f"git config 'codestrator.authority' is '{mine}', the lock book has '{used}'",
            "two clones could grant the same lease",
            f"git config codestrator.authority {used}",
        )
