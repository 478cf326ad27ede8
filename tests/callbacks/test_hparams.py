"""The HPARAMS tab of a real TensorBoard server shows every run with its hyperparameters and final metrics."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from jacoscope.callbacks import HParamsCallback, JacobianCallback
from jacoscope.callbacks.hparams import flatten

from .someone import loader, train

pytestmark = pytest.mark.filterwarnings("ignore")
RATES = (0.1, 0.01)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("sweep")
    for rate in RATES:
        hparams = {
            "optimizer": {"_target_": "torch.optim.AdamW", "lr": rate, "amsgrad": False},
            "seed": 1,
            "none": None,
        }
        callbacks = [JacobianCallback(), HParamsCallback(hparams, changed=[f"optimizer.lr={rate}"])]
        module, trainer = train(folder / str(rate) / "tensorboard", callbacks, epochs=1)
        trainer.test(module, loader(), verbose=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1"]
    server = subprocess.Popen(
        [*command, "--port", str(port), "--load_fast=false"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            time.sleep(0.5)
            try:
                if len(get(f"{url}/data/runs")) == len(RATES):
                    break
            except OSError:
                continue
        yield url
    finally:
        server.terminate()
        server.wait()


def get(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def test_each_run_is_one_session_and_there_are_no_others(board: str) -> None:
    assert sorted(get(f"{board}/data/runs")) == ["0.01/tensorboard", "0.1/tensorboard"]


def test_the_columns_are_the_hyperparameters_and_the_chosen_metrics(board: str) -> None:
    experiment = get(f"{board}/data/plugin/hparams/experiment", {"experimentName": "", "hparamsLimit": 0})
    columns = {info["name"]: info for info in experiment["hparamInfos"]}
    assert set(columns) == {"optimizer", "optimizer.lr", "optimizer.amsgrad", "seed"}
    assert columns["optimizer.lr"]["differs"] is True
    assert columns["optimizer.lr"]["type"] == "DATA_TYPE_FLOAT64"
    tags = [info["name"]["tag"] for info in experiment["metricInfos"]]
    assert tags[:1] == ["test/accuracy"]
    assert "jacobian/logits/boundary_distance/mean" in tags


def test_every_cell_of_the_table_is_filled(board: str) -> None:
    metrics = ["test/accuracy", "jacobian/logits/frobenius/mean", "jacobian/logits/boundary_distance/mean"]
    body = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_SUCCESS"],
        "colParams": [{"hparam": "optimizer.lr"}, *({"metric": {"tag": tag, "group": ""}} for tag in metrics)],
        "startIndex": 0,
        "sliceSize": 10,
    }
    groups = get(f"{board}/data/plugin/hparams/session_groups", body)["sessionGroups"]
    assert sorted(group["hparams"]["optimizer.lr"] for group in groups) == sorted(RATES)
    for group in groups:
        values = {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
        assert set(metrics) <= set(values)
        run = group["sessions"][0]["name"]
        curve = get(f"{board}/data/plugin/scalars/scalars?run={run}&tag=jacobian/logits/frobenius/mean")
        assert values["jacobian/logits/frobenius/mean"] == pytest.approx(curve[-1][2])


def test_values_are_flat_and_typed() -> None:
    nested = {"a": {"b": {"c": 1}, "_partial_": True}, "flag": True, "list": [1, 2], "name": "x", "nothing": None}
    assert flatten(nested) == {"a.b.c": 1.0, "flag": True, "list": "[1, 2]", "name": "x"}
