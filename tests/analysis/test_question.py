"""Questions that make no sense: one message each, that says what is allowed."""

from typing import Any

import pytest
from omegaconf import OmegaConf

from jacoscope.analysis.question import Question
from jacoscope.errors import UserError


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"split": "tset"}, "Did you mean split=test"),
        ({"output": "softmax"}, "output=softmax: it is one of logits, probs, log_probs"),
        ({"jacobian_dtype": "float"}, "Did you mean jacobian_dtype=float"),
        ({"limit": 0}, "limit=0 is not allowed; it is 1 to"),
        ({"limit": 1.5}, "limit=1.5 is of the wrong type: it is a whole number"),
        ({"chunk_size": -1}, "chunk_size=-1 is not allowed; it is 1 to"),
        ({"attack": -1}, "attack=-1 is not allowed; it is 0 to"),
        ({"sample": "seven"}, "sample='seven' is of the wrong type: it is a whole number"),
        ({"sample": True}, "sample=True is of the wrong type"),
        ({"samples": []}, "name at least one, samples="),
        ({"samples": [1, "b"]}, "it is a list, each a whole number"),
        ({"compare": ["A"]}, "name two runs or checkpoints, compare="),
        ({"compare": ["A", "B", "C"]}, "name two runs or checkpoints, compare="),
        ({"sample": 7, "image": "a.png"}, "sample and image are different questions"),
        ({"save_jacobians": "yes"}, "it is true or false"),
        ({"limit": 10**20}, "limit=100000000000000000000 is not allowed; it is 1 to"),
        ({"invert": True}, "invert=True is not used without image="),
        ({"invert": True, "sample": 7}, "invert=True is not used with sample="),
        ({"limit": 9, "sample": 7}, "limit=9 is not used with sample="),
        ({"limit": 9, "samples": [7]}, "limit=9 is not used with samples="),
        ({"split": "val", "image": "a.png"}, "split=val is not used with image="),
        ({"checkpoint": "A", "compare": ["A", "B"]}, "checkpoint=A is not used with compare="),
        ({"attack": 9, "history": True}, "attack=9 is not used with history="),
        ({"chunk_size": 9, "image": "a.png"}, "chunk_size=9 is not used with image="),
        ({"save_jacobians": True, "compare": ["A", "B"]}, "save_jacobians=True is not used with compare="),
        ({"jacobian_dtype": "float16"}, "jacobian_dtype=float16 is not used without save_jacobians=true"),
    ],
)
def test_a_slip_is_told_with_what_is_allowed(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as error:
        Question.from_config(OmegaConf.create(asked))
    assert told in str(error.value)


def test_the_output_is_probabilities_for_one_picture_and_logits_for_tables() -> None:
    assert Question(sample=7).named_output == "probs"
    assert Question(image="a.png").named_output == "probs"
    assert Question().named_output == "logits"
    assert Question(sample=7, output="logits").named_output == "logits"


def test_one_name_is_as_good_as_a_list_of_one() -> None:
    assert Question.from_config(OmegaConf.create({"trust": "my_package"})).trust == ["my_package"]


@pytest.mark.parametrize("asked", [{"sample": 7}, {"image": "a.png", "invert": True}, {"compare": ["A", "B"]}])
def test_a_value_of_nothing_goes_with_every_question(asked: dict[str, Any]) -> None:
    Question.from_config(OmegaConf.create({**asked, "attack": 0}))


@pytest.mark.parametrize("asked", [{"sample": 7}, {"image": "a.png"}, {"compare": ["A", "B"]}, {"history": True}])
def test_a_page_that_is_always_written_cannot_be_left_out(asked: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="report=False is not used"):
        Question.from_config(OmegaConf.create({**asked, "report": False}))


def test_the_first_sample_is_asked_for_one_by_one() -> None:
    question = Question.from_config(OmegaConf.create({"sample": 0}))
    assert (question.asked, question.file, question.indices) == ("sample", "sample", [0])
