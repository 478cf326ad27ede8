"""Run all benchmarks, one after another: python -m benchmarks"""

import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Run each benchmark in a process of its own, so that none inherits another's caches or threads."""
    here = Path(__file__).parent
    failed = []
    for file in sorted(here.glob("[a-z]*.py")):
        print(f"\n── {file.stem} " + "─" * 60, flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{file.stem}"], cwd=here.parent).returncode:
            failed.append(file.stem)
    if failed:
        raise SystemExit(f"\nNot measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
