"""What docs/callback.md tells people to type runs, on modules that are not ours."""

import re
from pathlib import Path

import pytest
import torch
from pytorch_lightning import LightningModule
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

PAGE = Path(__file__).parents[2] / "docs" / "callback.md"


class SomeonesModule(LightningModule):
    """No idea of ours: no names, no hyperparameters, standard everything."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor]) -> None:
        self.log("val/loss", self.training_step(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", range(3))
def test_each_example_of_the_page_runs_and_tensorboard_has_what_it_promises(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    data = TensorDataset(torch.rand(40, 1, 8, 8), torch.arange(40) % 3)
    names = {
        "model": SomeonesModule(),
        "train_loader": DataLoader(data, 10, shuffle=True),
        "val_loader": DataLoader(data, 10),
        "__name__": "example",
    }

    exec(compile(blocks[number], f"{PAGE}, example {number + 1}", "exec"), names)

    (events,) = tmp_path.rglob("events.out.tfevents.*")
    board = EventAccumulator(str(events))
    board.Reload()
    tags = board.Tags()
    assert "jacobian/logits/frobenius/mean" in tags["scalars"]
    assert any("probe" in tag for tag in tags["images"])
    assert tags["histograms"]
    assert any(tag.endswith("text_summary") for tag in tags["tensors"])
    assert "custom_scalars__config__" in tags["tensors"]
    assert ("_hparams_/session_start_info" in board.summary_metadata) == (number == 2)
