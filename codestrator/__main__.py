"""`python -m codestrator` is `git codestrator`."""

from codestrator.edges.cli import main

main()
