"""The lock of a run: a second process is told for whom it waits, and since when that one works."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jacoscope.errors import UserError
from jacoscope.runs.lock import alone_in, is_held

HOLD = """
import sys
from pathlib import Path
from jacoscope.runs.lock import alone_in

with alone_in(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""
WAIT = """
import sys
from pathlib import Path
from jacoscope.runs.lock import alone_in

with alone_in(Path(sys.argv[1]), wait=True):
    print("mine")
"""


def test_the_holder_is_named_with_its_number_and_since_when(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    assert is_held(tmp_path)
    named = rf"process {holder.pid} on \S+ \(since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\)"
    with pytest.raises(UserError, match=rf"is being worked on by {named}\. Wait until"), alone_in(tmp_path):
        pass
    waiting = subprocess.Popen(
        [sys.executable, "-c", WAIT, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert waiting.stderr is not None
    told = waiting.stderr.readline()
    assert re.fullmatch(rf"Waiting for {named}, which works on {tmp_path}\n", told), told
    holder.communicate()
    assert waiting.communicate(timeout=30)[0] == "mine\n"
    with alone_in(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / ".lock").read_text()
    assert not is_held(tmp_path)
    assert list(tmp_path.iterdir()) == []  # nothing was done there
