"""Run all benchmarks, one after another, or those that are named: python -m benchmarks [NAME …]"""

import argparse
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Run each benchmark in a process of its own, so that none inherits another's caches or threads."""
    here = Path(__file__).parent
    names = sorted(file.stem for file in here.glob("[a-z]*.py"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names)}; all by default")
    asked = parser.parse_args().names
    if unknown := set(asked) - set(names):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    failed = []
    for name in asked or names:
        print(f"\n── {name} " + "─" * 60, flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=here.parent).returncode:
            failed.append(name)
    if failed:
        raise SystemExit(f"\nNot measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
