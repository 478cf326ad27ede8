"""Settings of robustness curves that make no sense: one message each, that says what is allowed."""

from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import OmegaConf

from jacoscope.analysis.question import Question
from jacoscope.analysis.robustness.settings import Robustness
from jacoscope.errors import UserError

from .conftest import TINY


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"epsilons": []}, "robustness.epsilons=[]: name at least one size for random_signs, fgsm, pgd_linf"),
        ({"l2_epsilons": []}, "robustness.l2_epsilons=[]"),
        ({"epsilons": [0.1, -0.2]}, "robustness.epsilons=[0.1, -0.2] is not allowed; each of them is"),
        ({"epsilons": [0]}, "robustness.epsilons=[0] is not allowed"),
        ({"epsilons": [2]}, "robustness.epsilons=[2] is not allowed"),
        ({"l2_epsilons": [float("nan")]}, "type a finite number"),
        ({"epsilons": 0.1}, "robustness.epsilons=0.1 is of the wrong type: it is list[float]"),
        ({"steps": 0}, "robustness.steps=0 is not allowed; it is 1 to"),
        ({"steps": 1.5}, "robustness.steps=1.5 is of the wrong type: it is int"),
        ({"restarts": 0}, "robustness.restarts=0 is not allowed; it is 1 to"),
        ({"samples": 0}, "robustness.samples=0 is not allowed; it is 1 to"),
        ({"seed": -1}, "robustness.seed=-1 is not allowed"),
        ({"max_minutes": 0}, "robustness.max_minutes=0 is not allowed; it is more than 0"),
        ({"attacks": ["pgd"]}, "robustness.attacks: there is no pgd. Did you mean pgd_l2?"),
        ({"attacks": [], "corruptions": {}}, "there are neither attacks nor corruptions"),
        ({"corruptions": {"snow": [1]}}, "There is no robustness.corruptions.snow.\nCorruptions: noise, blur"),
        ({"corruptions": {"blur": []}}, "robustness.corruptions.blur=[]: name at least one size"),
        ({"corruptions": {"contrast": [1.5]}}, "robustness.corruptions.contrast=[1.5] is not allowed"),
        ({"corruptions": {"occlusion": [1.5]}}, "robustness.corruptions.occlusion=[1.5] is of the wrong type"),
        ({"step": 3}, "There is no key robustness.step. Did you mean robustness.steps?"),
    ],
)
def test_a_slip_is_told_with_what_is_allowed(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as error:
        Question.from_config(OmegaConf.create({"robustness": {**TINY, **changed}}))
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"sample": 7}, "robustness is not used with sample="),
        ({"image": "a.png"}, "robustness is not used with image="),
        ({"history": True}, "robustness is not used with history="),
        ({"compare": []}, "compare=[]: name runs or checkpoints"),
    ],
)
def test_curves_are_of_whole_splits(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as error:
        Question.from_config(OmegaConf.create({**asked, "robustness": TINY}))
    assert told in str(error.value)


def test_more_than_two_networks_are_compared_by_their_curves_alone() -> None:
    three = {"compare": ["A", "B", "C"]}
    assert Question.from_config(OmegaConf.create({**three, "robustness": TINY})).compare == ["A", "B", "C"]
    with pytest.raises(UserError, match="name two runs"):
        Question.from_config(OmegaConf.create({**three, "robustness": {}}))


def test_sizes_are_sorted_and_each_is_there_once(settings: Callable[..., Robustness]) -> None:
    read = settings(epsilons=[0.3, 0.1, 0.3], corruptions={"rotation": [30, 10]})
    assert (read.epsilons, read.corruptions) == ([0.1, 0.3], {"rotation": [10, 30]})
    assert read.decides == settings(epsilons=[0.1, 0.3], corruptions={"rotation": [10, 30]}, max_minutes=3).decides


def test_nothing_is_asked_for_by_default() -> None:
    assert Question.from_config(OmegaConf.create({"robustness": {}})).robustness is None
