"""`python -m codestrator` is `git codestrator`; a child's runner, which is waited for, goes straight to its work."""

import sys

if len(sys.argv) == 5 and (sys.argv[1], sys.argv[3]) == ("--repo", "runner"):
    from codestrator import runner

    sys.exit(runner.main(sys.argv[2], sys.argv[4]))

from codestrator.edges.cli import main

main()
