"""The table of ranges: it holds every number of the shipped configs, and each row refuses what is outside."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from jacoscope.errors import UserError
from jacoscope.runs.ranges import RANGES, Range, check_processes, check_ranges
from jacoscope.runs.result import flatten

CONFIGS = Path(__file__).parents[2] / "configs"
ONE_CHOICE_EACH = [
    f"{folder.name}={file.stem}"
    for folder in CONFIGS.iterdir()
    for file in folder.glob("*.yaml")
    if folder.name
    in ("data", "augmentation", "model", "loss", "penalty", "optimizer", "scheduler", "trainer", "callbacks", "logger")
]


def composed(*words: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", ["run_name=a", "paths.output_dir=a", *words])
    filled = {"images.classes": 2, "data.source.root": "a", "model._target_": "torch.nn.Flatten"}
    for key in OmegaConf.missing_keys(config):
        if key in filled:
            OmegaConf.update(config, key, filled[key])
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


@pytest.mark.parametrize("words", ONE_CHOICE_EACH)
def test_shipped_configs_are_in_range(words: str) -> None:
    check_ranges(composed(words))


def test_each_row_is_about_a_key_that_exists() -> None:
    keys = {key for words in ONE_CHOICE_EACH for key in flatten(composed(words))}
    keys |= {f"trainer.{name}" for name in ("min_epochs", "max_steps", "min_steps", "num_nodes", "overfit_batches")}
    keys |= {f"trainer.{name}" for name in ("val_check_interval", "fast_dev_run")}
    keys |= {"callbacks.checkpoint.save_top_k", "callbacks.ema.decay", "optimizer.eps"}
    assert [row for row in RANGES if not any(fnmatchcase(key, row) for key in keys)] == []


@pytest.mark.parametrize("pattern", RANGES)
def test_each_row_refuses_in_one_message(pattern: str) -> None:
    row, key = RANGES[pattern], pattern.replace("*", "x")
    first = next(name for name in RANGES if fnmatchcase(key, name))
    for number in (RANGES[first].low - 3, RANGES[first].high * 2):
        value = [number] * row.items if row.items else number
        if isinstance(number, float) and number == float("inf"):
            continue
        with pytest.raises(UserError) as refusal:
            check_ranges(nested(key, value))
        assert str(refusal.value) == f"{key}={value} is not allowed; it is {RANGES[first]}"


def test_keys_of_a_users_own_class_have_no_range() -> None:
    check_ranges({"model": {"_target_": "mine.Net", "channels": -1, "inner": {"hidden": [0]}}})
    with pytest.raises(UserError, match=r"model\.channels=-1"):
        check_ranges({"model": {"_target_": "jacoscope.models.LeNet5", "channels": -1}})


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (Range(1, 8), "1 to 8"),
        (Range(0), "0 or more"),
        (Range(0, above=True), "more than 0"),
        (Range(0, 1, below=True, items=2), "a list of 2 numbers, each at least 0 and less than 1"),
        (Range(1, 9, share=Range(0, 1, above=True)), "1 to 9, or a share of them, more than 0 and at most 1"),
        (Range(1, 9, besides=-1), "1 to 9, or -1"),
    ],
)
def test_a_range_in_words(row: Range, text: str) -> None:
    assert str(row) == text


def test_processes_on_a_cpu_are_four_for_each_core_at_most() -> None:
    check_processes({"accelerator": "cpu", "devices": 2})
    check_processes({"accelerator": "gpu", "devices": 100_000})  # Lightning counts GPUs itself
    check_processes({"accelerator": "cpu", "devices": "auto"})
    for devices in (100_000, "100000"):
        with pytest.raises(UserError, match=r"trainer\.devices=100000 is not allowed; it is 1 to \d+: .* cores"):
            check_processes({"accelerator": "cpu", "devices": devices})


def nested(key: str, value: Any) -> Any:
    first, _, rest = key.partition(".")
    return {first: nested(rest, value)} if rest else {first: value}
