"""Whatever bytes a file holds, it is read rightly or refused in words; and no lie about its size costs memory."""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .fuzz import READERS, contents, surrounded, survives

MEGABYTE = 2**20


@pytest.mark.parametrize("name", READERS)
def test_what_is_whole_is_read(name: str, tmp_path: Path) -> None:
    folder = surrounded(READERS[name], tmp_path)
    read = [survives(READERS[name], folder, content) for content in READERS[name].whole()]
    assert any(read)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=80)
@given(data=st.data())
def test_any_bytes_are_read_rightly_or_refused_in_words(
    name: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / f"fuzz_{name}"
    if not folder.exists():
        surrounded(READERS[name], folder)
    survives(READERS[name], folder, data.draw(contents(name)))


LIES = {
    "as many images as there are numbers": ("idx", struct.pack(">4I", 0x803, 2**31, 28, 28) + bytes(784)),
    "sizes whose product leaves 64 bits": (
        "idx",
        struct.pack(">4I", 0x803, 2_436_537, 1_794_011, 4_220_089) + bytes(107),
    ),
    "labels that go on for ever": ("idx", struct.pack(">2I", 0x801, 2**32 - 1)),
    "an event of 2**60 bytes": ("events", struct.pack("<QI", 2**60, 0)),
    "a record nested without end": ("result", b"[" * 200_000),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_about_size_costs_no_memory(lie: str, tmp_path: Path) -> None:
    name, content = LIES[lie]
    reader = READERS[name]
    surrounded(reader, tmp_path)
    survives(reader, tmp_path, reader.whole()[0])  # what is imported on the way is not held against the lie
    with peak_of() as peak:
        survives(reader, tmp_path, content)
    assert peak() < 64 * MEGABYTE


@contextmanager
def peak_of() -> Iterator[Callable[[], int]]:
    """Return how much memory, in bytes, the body takes at most."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = resident("VmRSS")
    yield lambda: resident("VmHWM") - before


def resident(kind: str) -> int:
    """Return a count of memory by Linux's name for it, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{kind}:"))
