"""One or more calls that work for each command; help and manual pages show them, and a test runs every one.

An id such as `case-…` stands for one of the repository, whole or cut to its unique beginning.
"""

PROGRAM = "git codestrator"
WIDTH, MOST = 76, 4

EXAMPLES: dict[str, tuple[str, ...]] = {
    "": ("init", 'session open --intent new_work --user-request "Fix the login timeout"', "status"),
    # verbs
    "status": ("", "--check --json"),
    "next": ("",),
    "watch": ("--interval 10",),
    "brief": ("--tokens 800",),
    "resume": ("", "ses-…"),
    "doctor": ("", "--fix --dry-run", "--checks clock"),
    "init": ("--dry-run", "--codex", "--remote origin"),
    "uninstall": ("--dry-run",),
    "undo": ("--dry-run", "2 --yes"),
    "land": ("",),
    "report": ("-o report.html",),
    "demo": ("",),
    "mcp": ("",),
    "completion": ("bash",),
    "graph show": ("--format mermaid",),
    "rescue show": ("snap-…",),
    # bare nouns
    "session": ("",),
    "task": ("",),
    "worktree": ("",),
    "lock": ("",),
    "rescue": ("",),
    "journal": ("",),
    "inbox": ("",),
    "sync": ("",),
    "handoff": ("",),
    # methods
    "workspace init": ("",),
    "session open": ('--intent new_work --user-request "Fix the login timeout"', "--intent resume_work"),
    "session heartbeat": ("--session-id ses-…",),
    "session close": ('--reason "all is landed"',),
    "session cleanup": ("--session-id ses-… --remove-worktrees",),
    "session list": ("--include-closed",),
    "session context": ("--session-id ses-…",),
    "handoff offer": ('--note "the second test still fails"', "--withdraw"),
    "handoff take": ("ses-… --remote origin",),
    "task create": (
        'epic "Checkout"',
        'feature "Session survives a refresh" --parent-id epic-…',
        'case "Refresh keeps the cookie" --parent-id feat-… --steps "write the test" --steps "make it pass"',
    ),
    "task list": ("--level case --status todo", "--under epic-… --json"),
    "task get": ("case-…",),
    "task update": ('case-… --add-steps "tell the docs" --priority 10',),
    "task ready": ("--include-waiting",),
    "task cancel": ('case-… "not needed any more"',),
    "case begin": ("case-…",),
    "case complete": ('case-… --summary "cookie is renewed"',),
    "step check": (
        'pass --case-id case-… --step-title "write the test"',
        """pass --step-id case-….2 --evidence '{"command": "pytest -q", "exit_status": 0}'""",
    ),
    "resume next": ("",),
    "resume candidates list": ("",),
    "resume candidates attach": ("ses-…",),
    "graph node create": ('initiative "Faster checkout"', 'plan "One page" --parent-id node-…'),
    "graph node list": ("--node-type slice --include checklist",),
    "graph edge create": ("node-… node-…b relates_to",),
    "graph checklist upsert": ('node-… "load test is green" --status done',),
    "graph snapshot create": ('node-… note --summary "waits for the gateway"',),
    "scheduler decide-worktree": ("--changed-files 12 --estimate-minutes 90",),
    "worktree create": ("feature/login --base-ref main",),
    "worktree list": ("--session-id ses-…",),
    "worktree spawn": ('--slug guide --reason "documents beside the code"',),
    "worktree merge-to-parent": ("--worktree-id wt-…",),
    "worktree remove": ("wt-… --dry-run", "wt-… --rescue"),
    "lock acquire": (
        "--scope-type prefix --scope-path src/login",
        """--scopes '{"scope_type": "file", "scope_path": "README.md"}' --wait-seconds 30""",
    ),
    "lock heartbeat": ("lock-… --ttl-seconds 1200",),
    "lock release": ("lock-…",),
    "lock list": ("--domain all",),
    "conflict forecast": ("--include-clean",),
    "rescue list": ("--session-id ses-…",),
    "rescue restore": ("snap-…",),
    "thread child spawn": (
        '--title "Session refresh" --scope-case-ids case-… --runner-kind codex_exec',
        '--title "Docs" --launch-command "my-agent --quiet" --no-ensure-tmux',
    ),
    "thread child directive": ('thr-… "Keep the old cookie name"', 'thr-… "Then the docs" --mode queue'),
    "thread child list": ("--status running",),
    "thread child interrupt": ("thr-… --wait-seconds 0",),
    "thread child stop": ('thr-… --reason "done otherwise"',),
    "thread child status": ("thr-…",),
    "thread child wait-status": ("thr-… completed --timeout-seconds 30",),
    "thread child report": ('--progress "3 of 5 tests pass"', '--question "Which cookie name?"'),
    "thread directive list": ("--thread-id thr-…",),
    "thread attach-info": ("",),
    "work current-ref": ("",),
    "work current-ref ack": ("thr-….1",),
    "work brief": ("--token-budget 800",),
    "work checkpoint": ('"form is there" --commit-message "login: form"',),
    "merge request": ("feat-…",),
    "merge review-context": ("mrq-…",),
    "merge review request-auto": ("--runner-kind codex_exec",),
    "merge review thread-status": ("--merge-request-id mrq-…",),
    "merge review verdict": ('approve "$(git rev-parse HEAD)" --summary "does what was asked"',),
    "merge main request": ("--no-auto-review",),
    "merge main next": ("",),
    "merge main status": ("--target-branch main",),
    "merge main acquire-lock": ("", "--target-branch main --wait-seconds 50"),
    "merge main release-lock": ("",),
    "merge main land": ("--dry-run", '--message "Login survives a refresh"'),
    "merge main cancel": ('land-… "another way was found"',),
    "inbox send": ('thr-… "Keep the old name"',),
    "inbox pending": ("--receiver-thread-id thr-…",),
    "inbox list": ("--thread-id thr-…",),
    "inbox deliver": ("msg-…",),
    "runtime tmux ensure": ("",),
    "runtime bundle info": ("",),
    "mirror status": ("",),
    "mirror refresh": ("doc-mirror-manager",),
    "plan bootstrap": ('"Faster checkout" "One page"',),
    "plan slice generate": ("""node-… --slice-specs '{"title": "Basket", "token_estimate": 12000}'""",),
    "plan slice replan": ('node-… "the gateway changed"',),
    "plan rollup preview": ("node-…",),
    "plan rollup submit": ('node-… --summary "two of three are done"',),
    "plan rollup approve": ("node-…",),
    "plan rollup reject": ('node-… --reason "no load test"',),
    "sync run": ("--direction fetch",),
    "sync status": ("",),
    "journal list": ("--limit 10", "--method task.create --json"),
    "journal undo": ("--dry-run",),
    "doctor check": ("--checks clock",),
}


def of(path: str) -> list[str]:
    """The whole calls for a command, `task create`; for a noun its own and the first of each that stands below it."""
    found = [_call(path, given) for given in EXAMPLES.get(path, ())]
    below = [_call(name, given[0]) for name, given in EXAMPLES.items() if path and name.startswith(f"{path} ")]
    return list(dict.fromkeys([*found, *below]))[:MOST]


def _call(path: str, given: str) -> str:
    return " ".join(part for part in (PROGRAM, path, given) if part)


def broken(call: str, width: int = WIDTH) -> list[str]:
    """A call on as many lines as it needs, each but the last ended by a backslash, as it can be typed."""
    first, *options = call.split(" --")
    lines = [first]
    for option in options:
        if len(lines[-1]) + len(option) + 5 <= width:
            lines[-1] += f" --{option}"
        else:
            lines.append(f"    --{option}")
    return [*(f"{line} \\" for line in lines[:-1]), lines[-1]]
