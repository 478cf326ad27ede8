"""The HPARAMS tab of a real TensorBoard server shows every run with its hyperparameters and final metrics."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import OmegaConf

from jacoscope.callbacks import HParamsCallback
from jacoscope.callbacks.hparams import hyperparameters

from .someone import loader, numbers, train

pytestmark = pytest.mark.filterwarnings("ignore")
CONFIGS = Path(__file__).parents[2] / "configs"
RATES, WIDTHS = (0.1, 0.01), ("[64]", "[32, 16]")


def hparams_of_a_job(*overrides: str) -> HParamsCallback:
    """The callback as it is built in a run of train.py with these overrides."""
    with pytest.MonkeyPatch.context() as patch, initialize_config_dir(str(CONFIGS), version_base=None):
        cfg = compose("train", list(overrides), return_hydra_config=True)
        patch.setattr(HydraConfig.instance(), "cfg", cfg)
        node = OmegaConf.to_container(cfg.callbacks.hparams, resolve=True)
        return instantiate(node, _convert_="all")  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on two runs of a sweep over a value that configs/callbacks/hparams.yaml names and one it does not."""
    folder = tmp_path_factory.mktemp("sweep")
    for rate, width in zip(RATES, WIDTHS, strict=True):
        job = hparams_of_a_job("model=mlp", f"optimizer.lr={rate}", f"model.hidden={width}", "run_name=mine")
        module, trainer = train(folder / str(rate) / "tensorboard", [numbers(), job], epochs=1)
        trainer.test(module, loader(), verbose=False)
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1", "--port", "0"]
    server = subprocess.Popen([*command, "--load_fast=false"], stderr=subprocess.PIPE, text=True)
    try:
        said = ""
        while not (found := re.search(r"http://127.0.0.1:\d+", said)):
            line = server.stderr.readline()
            assert line, said  # it has ended
            said += line
        url = found[0]
        deadline = time.monotonic() + 120
        while len(get(f"{url}/data/plugin/scalars/tags")) < len(RATES):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        yield url
    finally:
        server.terminate()
        server.wait()


def get(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # urlopen remembers other tests' proxies
    with straight.open(request, timeout=20) as answer:
        return json.load(answer)


def test_each_run_is_one_session_and_there_are_no_others(board: str) -> None:
    assert sorted(get(f"{board}/data/runs")) == ["0.01/tensorboard", "0.1/tensorboard"]


def test_the_columns_are_the_hyperparameters_and_the_chosen_metrics(board: str) -> None:
    experiment = get(f"{board}/data/plugin/hparams/experiment", {"experimentName": "", "hparamsLimit": 0})
    columns = {info["name"]: info for info in experiment["hparamInfos"]}
    named = {"seed", "trainer.max_epochs", "data.batch_size", "optimizer.lr", "optimizer.weight_decay"}
    chosen = {"data", "augmentation", "model", "loss", "penalty", "optimizer", "scheduler"}
    assert set(columns) == named | chosen | {"model.hidden"}, "run_name is no hyperparameter"
    assert {name for name, info in columns.items() if info["differs"]} == {"model", "model.hidden", "optimizer.lr"}
    assert columns["optimizer.lr"]["type"] == "DATA_TYPE_FLOAT64"
    tags = [info["name"]["tag"] for info in experiment["metricInfos"]]
    assert tags[:1] == ["test/accuracy"]
    assert "jacobian/logits/boundary_distance/mean" in tags


def test_every_cell_of_the_table_is_filled(board: str) -> None:
    metrics = ["test/accuracy", "jacobian/logits/frobenius/mean", "jacobian/logits/boundary_distance/mean"]
    columns = ["optimizer.lr", "model", "model.hidden"]
    body = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_SUCCESS"],
        "colParams": [{"hparam": name} for name in columns]
        + [{"metric": {"tag": tag, "group": ""}} for tag in metrics],
        "startIndex": 0,
        "sliceSize": 10,
    }
    groups = get(f"{board}/data/plugin/hparams/session_groups", body)["sessionGroups"]
    rows = {group["hparams"]["optimizer.lr"]: group["hparams"]["model.hidden"] for group in groups}
    assert rows == dict(zip(RATES, WIDTHS, strict=True))
    assert {group["hparams"]["model"] for group in groups} == {"mlp"}
    for group in groups:
        values = {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
        assert set(metrics) <= set(values)
        run = group["sessions"][0]["name"]
        curve = get(f"{board}/data/plugin/scalars/scalars?run={run}&tag=jacobian/logits/frobenius/mean")
        assert values["jacobian/logits/frobenius/mean"] == pytest.approx(curve[-1][2])


def test_values_are_flat_and_typed() -> None:
    nested = {"a": {"b": {"c": 1}, "_partial_": True}, "flag": True, "list": [1, 2], "name": "x", "nothing": None}
    assert hyperparameters(nested) == {"a.b.c": 1.0, "flag": True, "list": "[1, 2]", "name": "x"}


def test_two_configs_of_one_class_are_told_apart() -> None:
    jobs = [hparams_of_a_job(f"model={name}", "seed=3") for name in ("lenet5", "lenet5_relu")]
    assert [job.asked_for["model"] for job in jobs] == ["lenet5", "lenet5_relu"]


def test_outside_hydra_nothing_was_typed() -> None:
    job = HParamsCallback({"lr": 0.1}, choices=["model"])
    assert job.asked_for == {}
    assert job.changed == []
