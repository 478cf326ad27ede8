"""Test a reader with bytes that atheris makes up, guided by the reader's branches, or the scripts with settings.

    pip install atheris
    python -m tests.reliability picture -max_total_time=120
    python -m tests.reliability train 2000
    python -m tests.reliability analyze 500

Names of readers are in ``fuzz.py``, options those of libFuzzer. ``train`` and ``analyze`` run so many command
lines of train.py and analyze.py.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

if sys.argv[1:2] in (["train"], ["analyze"]):
    from .fuzz_settings import main as fuzz_settings

    with TemporaryDirectory() as scratch:
        fuzz_settings(sys.argv[1], int((sys.argv[2:] or ["2000"])[0]), Path(scratch))
    sys.exit()

import atheris

with atheris.instrument_imports(include=["jacoscope", "PIL"]):
    from .fuzz import READERS, surrounded, survives


def main() -> None:
    """Test one reader until an error occurs or the time is up."""
    name, *options = sys.argv[1:] or [""]
    if name not in READERS:
        raise SystemExit(f"python -m tests.reliability READER, one of {', '.join(READERS)}")
    reader, counts = READERS[name], [0, 0]
    with TemporaryDirectory() as scratch:
        folder, corpus = surrounded(reader, Path(scratch) / "folder"), Path(scratch) / "corpus"
        corpus.mkdir()
        for number, content in enumerate(reader.whole()):
            (corpus / str(number)).write_bytes(content)

        def one(content: bytes) -> None:
            counts[survives(reader, folder, content)] += 1
            if sum(counts) % 500 == 0:
                print(f"{name}: {counts[True]} read, {counts[False]} refused", flush=True)

        atheris.Setup([sys.argv[0], str(corpus), *options], one)
        atheris.Fuzz()


main()
