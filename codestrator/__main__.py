"""The program: `git codestrator`; a child's runner, which is waited for, goes straight to its work."""

import gc
import sys


def main() -> None:
    gc.disable()  # a command ends before collecting would pay; what goes on running enables it again
    if len(sys.argv) == 5 and (sys.argv[1], sys.argv[3]) == ("--repo", "runner"):
        from codestrator import runner

        sys.exit(runner.main(sys.argv[2], sys.argv[4]))
    from codestrator.edges import cli

    cli.main()


if __name__ == "__main__":
    main()
