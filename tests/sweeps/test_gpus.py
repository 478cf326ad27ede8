"""Runs side by side use different GPUs. The tests need none: an environment variable says which are visible."""

import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from jacoscope.sweeps import job


@pytest.fixture(autouse=True)
def _numbers_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_kept_open", [])


def test_each_process_has_a_number_of_its_own_and_leaves_it_to_the_next(tmp_path: Path) -> None:
    assert [job.take_number(tmp_path) for _ in range(3)] == [0, 1, 2]
    job._kept_open.pop(1).close()  # as when its process ends
    assert [job.take_number(tmp_path) for _ in range(2)] == [1, 3]


@pytest.mark.parametrize(
    ("visible", "seen"),
    [("0,1", ["0", "1", "0"]), ("5,GPU-a1,7", ["5", "GPU-a1", "7"]), ("3", ["3"] * 3), ("", [""] * 3)],
)
def test_processes_are_spread_over_the_gpus_that_are_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str, seen: list[str]
) -> None:
    config = OmegaConf.create({"trainer": {"accelerator": "auto", "devices": 1}})
    for expected in seen:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)  # as another process begins
        job._choose_gpu_once.cache_clear()
        for _ in range(2):  # and keeps its GPU for its next run
            job.choose_gpu(config, tmp_path)
            assert os.environ["CUDA_VISIBLE_DEVICES"] == expected


def test_torch_is_asked_where_the_environment_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so that it is put back
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    job._choose_gpu_once.cache_clear()
    job.choose_gpu(OmegaConf.create({"trainer": {"accelerator": "gpu", "devices": 1}}), tmp_path)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


@pytest.mark.parametrize("trainer", [{"accelerator": "cpu", "devices": 1}, {"accelerator": "gpu", "devices": 2}, {}])
def test_a_run_that_wants_no_gpu_or_several_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainer: dict[str, object]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    job._choose_gpu_once.cache_clear()
    job.choose_gpu(OmegaConf.create({"trainer": trainer}), tmp_path)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
