"""Run all benchmarks, one after another, or those that are named: python -m benchmarks [NAME …] [--tiny]"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks._command_line import parser


def main(words: Sequence[str] | None = None) -> None:
    """Run each benchmark in a process of its own, so that none inherits another's caches or threads."""
    here = Path(__file__).parent
    names = sorted(file.stem for file in here.glob("[a-z]*.py"))
    command_line = parser(__doc__)
    command_line.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names)}; all by default")
    given = command_line.parse_args(words)
    if unknown := set(given.names) - set(names):
        command_line.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    failed = []
    for name in given.names or names:
        print(f"\n── {name} " + "─" * 60, flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *(["--tiny"] if given.tiny else [])]
        if subprocess.run(command, cwd=here.parent).returncode:
            failed.append(name)
    if failed:
        raise SystemExit(f"\nEnded with an error: {', '.join(failed)}")


if __name__ == "__main__":
    main()
