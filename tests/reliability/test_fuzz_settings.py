"""Any command line of train.py ends in a training or in one message that names what was typed, and leaves no folder."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from .fuzz_settings import names_what_was_typed, prepare, words


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("settings")


def test_any_command_line_trains_or_is_refused_in_one_message(folder: Path) -> None:
    run, trained, refused = prepare(folder), 0, 0

    @settings(max_examples=12, suppress_health_check=[*HealthCheck])
    @given(words())
    def try_one(line: list[str]) -> None:
        nonlocal trained, refused
        outcome = run(line)
        assert outcome.kind in ("trained", "refused"), outcome.told
        assert outcome.kind == "trained" or names_what_was_typed(line, outcome.told), outcome.told
        trained, refused = trained + (outcome.kind == "trained"), refused + (outcome.kind == "refused")

    try_one()
    assert run(["seed=1"]).kind == "trained"
    assert refused > 0
