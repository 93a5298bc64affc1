"""`git codestrator watch`: the state as it is now, for as long as one looks; it changes nothing."""

import os
import sys

from codestrator.edges.context import Context


def run(context: Context, interval: float) -> int:
    """Watch until asked to end; the exit status.

    On a terminal a screen, else what `status` prints, again whenever it would print something else.
    """
    streams = (sys.stdin, sys.stdout, sys.stderr)  # a screen needs all: it is drawn on the last
    if context.json or os.environ.get("TERM") == "dumb" or not all(one.isatty() for one in streams):
        from codestrator.edges.watch.lines import follow

        return follow(context, interval)
    from codestrator.edges.watch.app import screen

    return screen(context, interval)
