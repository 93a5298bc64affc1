"""Runs the benches named, or all, and prints one table: what was measured, its limit, the ratio and the bar."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import children, edges, landing, lists, store, travel
from tests.bench.measure import Row

BENCHES: dict[str, Callable[[Path], list[Row]]] = {
    "writers": store.writers,
    "scale": store.scale,
    "objects": store.objects,
    "packing": store.packing,
    "screens": edges.screens,
    "server": edges.server,
    "economy": edges.economy,
    "memory": edges.memory,
    "lists": lists.task_list,
    "children": children.children,
    "landing": landing.landing,
    "forecast": landing.forecast,
    "reads": landing.reads,
    "travel": travel.travel,
    "crowd": travel.crowd,
}


def main(names: list[str]) -> int:
    table = Table("what", "ours", "beside", "ratio", "bar", "")
    missed = 0
    for name in names or list(BENCHES):
        with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
            for row in BENCHES[name](Path(folder)):
                missed += not row.met
                table.add_row(
                    row.what, row.ours, row.beside, f"{row.ratio:.2f}", row.bar, "met" if row.met else "MISSED"
                )
                print(f"{name}: {row.what}: {row.ratio:.2f} ({row.bar})", file=sys.stderr, flush=True)
    Console(width=150).print(table)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
