"""What JacobianCallback is told wrongly is refused in one message."""

import math
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import Trainer
from torch import Tensor

from jacoscope.callbacks import JacobianCallback
from jacoscope.errors import UserError

from .someone import Someone, loader, numbers, train

pytestmark = pytest.mark.filterwarnings("ignore")


def test_mistakes_are_told_before_anything_is_trained(tmp_path: Path) -> None:
    class Cut(Someone):
        def forward(self, x: Tensor) -> Any:
            return self.net(x.detach())

    class Tuple(Someone):
        def forward(self, x: Tensor) -> Any:
            return self.net(x), x

    class Stage(Someone):
        trained = False

        def on_train_batch_end(self, *_: Any) -> None:
            Stage.trained = True

    for sanity in (0, 2):
        for base, match in ((Cut, "detach"), (Tuple, r"returns a tuple.*output=")):
            module = type("Module", (base, Stage), {})()
            with pytest.raises(UserError, match=match):
                train(tmp_path, [numbers()], module=module, num_sanity_val_steps=sanity)
    with pytest.raises(UserError, match="inputs_fn"):
        train(tmp_path, [numbers(inputs_fn=lambda batch: "x")], module=Stage())
    assert not Stage.trained
    with pytest.raises(UserError, match=r"dataloader_idx=3.*1 loaders: 0 to 0"):
        train(tmp_path, [numbers(dataloader_idx=3)])
    with pytest.raises(UserError, match="detach"):
        Trainer(logger=False, callbacks=[numbers()], accelerator="cpu", enable_progress_bar=False).validate(
            Cut(), loader(), verbose=False
        )
    with pytest.raises(UserError, match="2 class_names were given, but there are 3 outputs"):
        train(tmp_path, [numbers(class_names=["a", "b"])], epochs=1)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"max_samples": 0}, "max_samples=0"),
        ({"every_n_steps": 0}, "every_n_steps=0"),
        ({"train_samples": -5}, "train_samples=-5"),
        ({"images_every_n_epochs": -3}, "images_every_n_epochs=-3"),
        ({"dataloader_idx": -1}, "dataloader_idx=-1"),
        ({"max_classes": 0}, "max_classes=0"),
        ({"outputs": ["logit"]}, "outputs"),
        (
            {"strategy": "vmap-jacref"},
            "strategy=vmap-jacref: it is one of auto, .* Did you mean strategy=vmap-jacrev",
        ),
        ({"probe_indices": range(25)}, "25 probe_indices"),
        ({"probe_indices": [1.5]}, r"probe_indices=\[1.5\].*whole number"),
        ({"probe_indices": [-1]}, r"probe_indices=\[-1\]"),
        ({"max_samples": 1.5}, "max_samples=1.5.*whole number, 1 or more"),
        ({"max_samples": 250.0}, "max_samples=250.0"),
        ({"max_samples": math.inf}, "max_samples=inf"),
        ({"max_samples": True}, "max_samples=True"),
        ({"max_samples": None}, "max_samples=None"),
        ({"max_samples": "9"}, "max_samples='9'"),
        ({"every_n_epochs": 0.5}, "every_n_epochs=0.5"),
        ({"every_n_steps": 2.0}, "every_n_steps=2.0"),
        ({"train_samples": 3.5}, "train_samples=3.5.*0 or more"),
        ({"images_every_n_epochs": 2.5}, "images_every_n_epochs=2.5"),
        ({"dataloader_idx": 0.0}, "dataloader_idx=0.0"),
        ({"max_classes": 2.5}, "max_classes=2.5"),
        ({"max_probes": 2.5}, "max_probes=2.5"),
        ({"max_maps": 2.5}, "max_maps=2.5"),
        ({"name": ""}, "name=''"),
        ({"name": "a/b"}, "name='a/b'"),
        ({"name": "test"}, "name='test'"),
    ],
    ids=str,
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(UserError, match=match):
        JacobianCallback(**arguments)
