"""The notebooks of docs/ run from top to bottom."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("book", sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")), ids=lambda book: book.stem)
def test_each_notebook_runs(book: Path, tmp_path: Path) -> None:
    pytest.importorskip("nbmake", reason="nbmake is not installed: pip install jacoscope[test]")
    command = [sys.executable, "-m", "pytest", "--nbmake", "--nbmake-timeout=300", "-q", "-p", "no:cacheprovider"]
    command += ["-c", "/dev/null", f"--rootdir={tmp_path}", str(book)]
    one_thread = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
    }  # beside another process of the tests, two take five times as long
    done = subprocess.run(command, cwd=tmp_path, env=one_thread, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
