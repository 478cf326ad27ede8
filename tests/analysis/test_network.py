import os
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from jacoscope.analysis.network import NetworkSpec, TrainedNetwork, find_checkpoint, load_weights, network_spec
from jacoscope.checkpoints import read_checkpoint
from jacoscope.errors import UserError
from jacoscope.runs.result import Result
from jacoscope.runs.targets import check_namespaces


class Malicious:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.trace}",)


def test_a_malicious_pickle_does_not_run_and_is_refused_by_the_name_of_what_it_tried(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    torch.save({"state_dict": Malicious(trace)}, tmp_path / "evil.ckpt")
    with pytest.raises(UserError, match=r"refused: it would run (posix|nt)\.system"):
        read_checkpoint(tmp_path / "evil.ckpt")
    assert not trace.exists()


@pytest.mark.parametrize(("keep", "reason"), [(0, "it is empty"), (200, "cut short or damaged")])
def test_a_truncated_file_is_told_from_an_empty_one(tmp_path: Path, keep: int, reason: str) -> None:
    torch.save(nn.Linear(20, 20).state_dict(), tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes((tmp_path / "a.ckpt").read_bytes()[:keep])
    with pytest.raises(UserError, match=reason):
        read_checkpoint(tmp_path / "b.ckpt")


@pytest.mark.parametrize("prefix", ["", "network.", "model.module."])
def test_weights_are_found_under_any_prefix(prefix: str) -> None:
    source, target = nn.Sequential(nn.Linear(3, 2)), nn.Sequential(nn.Linear(3, 2))
    weights = {f"{prefix}{k}": v for k, v in source.state_dict().items()}
    load_weights(target, {"state_dict": weights}, Path("x.ckpt"), "a model")
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


def test_another_architecture_is_named_by_its_first_difference_and_nothing_is_loaded() -> None:
    target = nn.Sequential(nn.Linear(3, 2))
    before = target[0].weight.clone()
    with pytest.raises(UserError, match=r"0.weight: \[2, 4\] in the checkpoint, \[2, 3\] in the network"):
        load_weights(target, nn.Sequential(nn.Linear(4, 2)).state_dict(), Path("x.ckpt"), "a model")
    assert torch.equal(before, target[0].weight)


def test_diverged_weights_are_refused() -> None:
    weights = {"weight": torch.full((2, 3), torch.nan), "bias": torch.zeros(2)}
    with pytest.raises(UserError, match="weight are NaN or infinite"):
        load_weights(nn.Linear(3, 2), weights, Path("x.ckpt"), "a model")


def test_the_latest_finished_run_is_the_default(run: Path) -> None:
    assert find_checkpoint(None, run.parents[2]).path == run / "checkpoints" / "best.ckpt"


def test_a_checkpoint_inside_a_run_knows_its_run_and_a_bare_one_asks_for_the_network(
    run: Path, cfg: DictConfig, tmp_path: Path
) -> None:
    inside = find_checkpoint(str(run / "checkpoints" / "best.ckpt"), "logs")
    assert inside.home.samefile(run)
    bare = tmp_path / "bare.ckpt"
    bare.write_bytes(inside.path.read_bytes())
    with pytest.raises(UserError, match="model=lenet5"):
        network_spec(find_checkpoint(str(bare), "logs"), cfg, [], [])


def test_a_missing_checkpoint_names_the_runs_that_there_are(run: Path) -> None:
    with pytest.raises(UserError, match="small"):
        find_checkpoint("nowhere", run.parents[2])


@pytest.mark.parametrize("target", ["os.system", "my_package.Net", "torch.hub.load", "jacoscope.files.os.system"])
def test_a_run_of_somebody_elses_builds_nothing_outside_the_harmless_namespaces(target: str) -> None:
    with pytest.raises(UserError, match="trust="):
        check_namespaces({"model": {"x": [{"_target_": target}]}}, (), "RUN")


def test_a_harmless_name_that_leads_elsewhere_is_not_built(small: TrainedNetwork, tmp_path: Path) -> None:
    config = {**small.spec.config}
    config["model"] = {
        **config["model"],
        "activation": {"_target_": "torch.nn.modules.module.torch.hub.load", "_partial_": True},
    }
    with pytest.raises(UserError, match="whitelist"):
        TrainedNetwork.load(NetworkSpec(small.spec.checkpoint, config, (), False))


def test_a_trusted_package_may_be_built() -> None:
    check_namespaces({"_target_": "my_package.Net"}, ("my_package",), "RUN")
    with pytest.raises(UserError):
        check_namespaces({"_target_": "my_package_of_another.Net"}, ("my_package",), "RUN")


def test_what_the_user_types_goes_on_top_of_the_runs_own_config(run: Path, cfg: DictConfig) -> None:
    cfg.model = {"_target_": "jacoscope.models.MLP", "hidden": [7]}
    own = network_spec(find_checkpoint(str(run), "logs"), cfg, ["sample=3"], [])
    stored = Result.read(run / "result.json").config
    assert own.config == {key: stored[key] for key in ("images", "data", "model")}
    assert own.is_unchanged
    changed = network_spec(find_checkpoint(str(run), "logs"), cfg, ["model.hidden=[7]"], [])
    assert changed.config["model"] == {**stored["model"], "hidden": [7]}
    assert not changed.is_unchanged


def test_the_runs_own_data_may_lie_elsewhere(run: Path, cfg: DictConfig, tmp_path: Path) -> None:
    OmegaConf.update(cfg, "paths.data_dir", str(tmp_path))
    moved = network_spec(find_checkpoint(str(run), "logs"), cfg, [f"paths.data_dir={tmp_path}"], [])
    assert moved.config["data"]["source"]["root"] == str(tmp_path / "images")
    assert moved.is_unchanged


@pytest.mark.parametrize(
    ("classes", "model", "told"),
    [
        (1, {"num_classes": 1}, "one output, and an analysis needs two classes or more"),
        (4, {}, "a classifier of 4 classes gives logits"),
        (3, {"_target_": "torch.nn.Identity"}, "a classifier of 3 classes gives logits"),
    ],
)
def test_what_gives_no_logits_of_two_classes_or_more_is_told_in_words_that_can_be_typed(
    small: TrainedNetwork, classes: int, model: dict[str, Any], told: str
) -> None:
    config = small.spec.config
    images, network = {**config["images"], "classes": classes}, {**config["model"], **model}
    with pytest.raises(UserError) as error:
        TrainedNetwork.load(
            NetworkSpec(small.spec.checkpoint, {**config, "images": images, "model": network}, (), True)
        )
    assert told in str(error.value)
    assert not any(python in str(error.value) for python in ("output=", "lambda"))
