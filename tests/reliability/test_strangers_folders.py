"""Folders that somebody else made: looked at, they lead nowhere else."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from jacoscope.comparison.importance import importances

optuna = pytest.importorskip("optuna")


def sweep_with(folder: Path, study: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps({"command": [], "jobs": [], "started": "", "study": study}))
    return folder


def write_study(file: Path, name: str, trials: int = 12) -> None:
    study = optuna.create_study(study_name=name, storage=f"sqlite:///{file}", direction="maximize")
    study.optimize(lambda trial: trial.suggest_float("lr", 0, 1) + 0 * trial.suggest_float("width", 0, 1), trials)


def test_the_study_of_a_sweep_is_found_where_its_folder_has_been_moved_to(tmp_path: Path) -> None:
    sweep = sweep_with(tmp_path / "a b", {"storage": "sqlite:////then/study.db", "name": "s", "objectives": ["val"]})
    write_study(sweep / "study.db", "s")
    (found,) = importances(sweep).values()
    assert found.shares["lr"] > found.shares["width"]
    assert sum(found.shares.values()) == pytest.approx(1)
    assert (found.best, found.trials) == (5, 12)


def test_trials_that_equal_the_last_of_the_best_count_among_them(tmp_path: Path) -> None:
    sweep = sweep_with(tmp_path, {"storage": "sqlite:///study.db", "name": "s", "objectives": ["val"]})
    study = optuna.create_study(study_name="s", storage=f"sqlite:///{sweep / 'study.db'}", direction="maximize")
    study.optimize(lambda trial: float(trial.suggest_float("lr", 0, 1) >= 0 and trial.number < 8), 12)
    (found,) = importances(sweep).values()
    assert (found.best, found.trials) == (8, 12)


def test_few_trials_are_not_said_to_tell_what_matters(tmp_path: Path) -> None:
    sweep = sweep_with(tmp_path, {"storage": "sqlite:///study.db", "name": "s", "objectives": ["val"]})
    write_study(sweep / "study.db", "s", trials=9)
    assert importances(sweep) == {}


@pytest.mark.parametrize(
    "storage",
    [
        "postgresql://user:word@stranger.example/studies",
        "mysql+pymysql://stranger.example/studies",
        "sqlite:///{elsewhere}/study.db",
        "sqlite:///{elsewhere}/not_there_yet.db",
        "sqlite:///../elsewhere/study.db",
        "sqlite:///link.db",
        "sqlite:///file:{elsewhere}/study.db?mode=rwc&uri=true",
        "sqlite:///",
        "{elsewhere}/study.db",
        ["sqlite:///{elsewhere}/study.db"],
        None,
    ],
)
def test_no_other_study_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: Any) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_study(elsewhere / "study.db", "s")
    before = {path: path.read_bytes() for path in elsewhere.iterdir()}
    named = storage.format(elsewhere=elsewhere) if isinstance(storage, str) else storage
    sweep = sweep_with(tmp_path / "sweep", {"storage": named, "name": "s", "objectives": ["val"]})
    (sweep / "link.db").symlink_to(elsewhere / "study.db")
    opened: list[Any] = []
    monkeypatch.setattr(optuna, "load_study", lambda **given: opened.append(given))
    monkeypatch.setattr(socket.socket, "connect", lambda *given: opened.append(given))
    assert importances(sweep) == {}
    assert opened == []
    assert {path: path.read_bytes() for path in elsewhere.iterdir()} == before


@pytest.mark.parametrize("study", [{}, {"storage": "sqlite:///study.db"}, {"name": 1, "objectives": 2}, {"a": []}])
@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" + bytes(200), b"no database"])
def test_what_is_no_study_is_passed_over(tmp_path: Path, study: dict[str, Any], content: bytes) -> None:
    sweep = sweep_with(tmp_path / "sweep", {"storage": "sqlite:///study.db", "name": "s", "objectives": ["v"], **study})
    (sweep / "study.db").write_bytes(content)
    assert importances(sweep) == {}
