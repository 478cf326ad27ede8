from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from torch import nn

from jacoscope.errors import UserError
from jacoscope.runs.build import build, build_network
from jacoscope.runs.records import fits, type_hints
from jacoscope.runs.targets import check_targets


def target(
    width: int = 1,
    rate: float = 0.1,
    name: str | None = "a",
    on: bool = True,
    sizes: Sequence[int] = (1,),
    pair: tuple[float, float] = (0.1, 0.2),
    where: str | Path = ".",
    mode: Literal["min", "max"] = "min",
    layer: Callable[[], nn.Module] = nn.ReLU,
    anything: Any = None,
) -> str:
    return "made"


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"width": 3, "rate": 1, "name": None, "on": False, "sizes": [1, 2], "pair": [1, 0.5], "mode": "max"},
        {"where": "x", "anything": {"a": [1]}, "layer": {"_target_": "torch.nn.Tanh", "_partial_": True}},
    ],
)
def test_right_arguments_pass(arguments: dict[str, Any]) -> None:
    hints = type_hints(target)
    for name, value in arguments.items():
        assert fits(value, hints[name], ...), name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", "3"), ("width", 1.5), ("width", True), ("width", None), ("width", [1]),
        ("rate", "fast"), ("rate", False), ("name", 3), ("on", 1), ("on", "yes"), ("sizes", 3), ("sizes", "12"),
        ("sizes", [1, "2"]), ("pair", ["a", "b"]), ("where", 3), ("mode", "mean"), ("layer", "relu"),
    ],
)  # fmt: skip
def test_wrong_types_do_not_pass(name: str, value: Any) -> None:
    assert not fits(value, type_hints(target)[name], ...)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": {"_target_": "jacoscope.models.LeNet6"}}, r"Did you mean jacoscope\.models\.LeNet5\?"),
        ({"model": {"_target_": "no_such_package.Net"}}, r"no_such_package\.Net cannot be imported"),
        ({"model": {"_target_": "torch.pi"}}, r"torch\.pi is not a class or function"),
        (
            {"optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True, "weigth_decay": 0}},
            r"optimizer\.weigth_decay: .*Did you mean weight_decay\?",
        ),
        ({"a": [{"_target_": "torch.nn.Linear", "in_features": "x"}]}, r"a\[0\]\.in_features='x' .* takes int"),
    ],
)
def test_says_which_key_is_at_fault_and_what_would_be_right(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_targets(config)


def test_what_a_target_refuses_is_told_in_its_own_words() -> None:
    with pytest.raises(UserError, match=r"LeNet5 cannot be made: ValueError: .*28×30"):
        build({"model": {"_target_": "jacoscope.models.LeNet5", "input_shape": [1, 28, 30]}}, "model")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 10}, "does not take images"),
        ({"_target_": "torch.nn.Flatten"}, r"gives \[2, 16\] for two images"),
        ({"_target_": "builtins.dict"}, r"makes a dict, not an nn\.Module"),
    ],
)
def test_a_network_that_is_no_classifier_of_the_images_is_refused(model: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_network({"model": model, "images": {"shape": [1, 4, 4], "classes": 10}})
