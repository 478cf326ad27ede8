"""Any command line of either script is carried out or refused in one message that names what was typed."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from .fuzz_settings import names_what_was_typed, prepare, words


@pytest.mark.parametrize(("script", "good"), [("train", "seed=1"), ("analyze", "limit=3")])
def test_any_command_line_is_carried_out_or_refused_in_one_message(tmp_path: Path, script: str, good: str) -> None:
    run, refused = prepare(tmp_path, script), 0

    @settings(max_examples=8, suppress_health_check=[*HealthCheck])
    @given(words(script))
    def try_one(line: list[str]) -> None:
        nonlocal refused
        outcome = run(line)
        assert outcome.kind in ("done", "refused"), outcome.told
        assert outcome.kind == "done" or names_what_was_typed(line, outcome.told), outcome.told
        refused += outcome.kind == "refused"

    try_one()
    assert run([good]).kind == "done"
    assert refused > 0
