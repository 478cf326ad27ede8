"""Networks that give no logits of two classes or more: told before anything is computed, in words to type."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jacoscope.analysis.logits import check_logits
from jacoscope.analysis.origin import Origin
from jacoscope.analysis.subject import Subject
from jacoscope.errors import UserError


class Gives(nn.Module):
    def __init__(self, what: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: Tensor) -> Any:
        return self.what(x)


@pytest.mark.parametrize(
    ("what", "classes", "told"),
    [
        (lambda x: (x.flatten(1)[:, :3],), 3, "gives a tuple"),
        (lambda x: {"logits": x.flatten(1)[:, :3]}, 3, "gives a dict"),
        (lambda x: x, 3, "gives a tensor [1, 1, 2, 2]; an analysis needs its logits and nothing else, [1, 3]"),
        (lambda x: x.flatten(1)[:, :2], 3, "gives a tensor [1, 2]"),
        (lambda x: x.flatten(1)[:, :1], 1, "one output, and an analysis needs two classes or more"),
        (lambda x: x @ torch.ones(5, 1), 3, "does not take images of images.shape=[1, 2, 2]"),
    ],
)
def test_what_is_no_logits_is_told_without_python(what: Callable[[Tensor], Any], classes: int, told: str) -> None:
    with pytest.raises(UserError) as error:
        check_logits(Gives(what).eval(), {"shape": [1, 2, 2], "classes": classes}, Path("a.ckpt"))
    assert told in str(error.value)
    assert not any(python in str(error.value) for python in ("output=", "lambda", "check_finite"))
    assert "a.ckpt" in str(error.value)


def test_it_is_asked_of_every_network(small: Subject, tmp_path: Path) -> None:
    config = {**small.origin.config, "images": {**small.origin.config["images"], "classes": 4}}
    with pytest.raises(UserError, match=r"gives a tensor \[1, 3\]"):
        Subject.of(Origin(small.origin.checkpoint, config, (), True))
