"""Run all benchmarks, one after another: python -m benchmarks"""

import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Run each benchmark in a process of its own, so that none inherits another's caches or threads."""
    here = Path(__file__).parent
    for file in sorted(here.glob("[a-z]*.py")):
        print(f"\n── {file.stem} " + "─" * 60, flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{file.stem}"], cwd=here.parent, check=True)


if __name__ == "__main__":
    main()
