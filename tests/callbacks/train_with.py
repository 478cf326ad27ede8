"""Train a moment with one of the two Lightnings, the other one hidden: train_with.py PACKAGE HIDDEN FOLDER.

Prints what each logger has got, as JSON.
"""

import json
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

package, hidden, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
for name in (hidden, hidden.partition(".")[0], "lightning_fabric" if package == "lightning.pytorch" else "lightning"):
    sys.modules[name] = None  # type: ignore[assignment]  # whoever imports it gets ModuleNotFoundError

import torch  # noqa: E402
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from jacoscope.callbacks import HParamsCallback, JacobianCallback  # noqa: E402

L = import_module(package)
loggers = import_module(f"{package}.loggers")
TAG = "jacobian/logits/frobenius/mean"


class Net(L.LightningModule):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    def forward(self, x: Tensor) -> Any:
        return self.net(x)

    def training_step(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any) -> None:
        self.log("val/loss", self.training_step(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def main() -> None:
    chosen = [loggers.TensorBoardLogger(folder / "tb", name="", version=""), loggers.CSVLogger(folder, name="csv")]
    if find_spec("wandb"):
        chosen.append(loggers.WandbLogger(project="test", save_dir=folder, offline=True))
    uri = f"sqlite:///{folder}/mlflow.db"
    if find_spec("mlflow") and find_spec("sqlalchemy"):
        chosen.append(loggers.MLFlowLogger("t", tracking_uri=uri, artifact_location=(folder / "mlflow").as_uri()))
    by_kind = {type(logger).__name__: logger for logger in chosen}

    L.seed_everything(0)
    watch = JacobianCallback(images_every_n_epochs=1, max_samples=12, train_samples=4)
    trainer = L.Trainer(
        max_epochs=2,
        logger=chosen,
        callbacks=[watch, HParamsCallback({"lr": 0.1})],
        accelerator="cpu",
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = DataLoader(TensorDataset(torch.rand(30, 1, 8, 8), torch.arange(30) % 3), 10)
    trainer.fit(Net(), data, data)

    board = EventAccumulator(str(folder / "tb"), size_guidance={"scalars": 0, "tensors": 0})
    board.Reload()
    tags = board.Tags()
    (csv,) = folder.glob("csv/*/metrics.csv")
    found: dict[str, Any] = {
        "is_callback": isinstance(watch, L.Callback),
        "norms": [point.value for point in board.Scalars(TAG)],
        "tensorboard": {
            "scalars": len(tags["scalars"]),
            "images": len(tags["images"]),
            "histograms": len(tags["histograms"]),
            "texts": sum(tag.endswith("text_summary") for tag in tags["tensors"]),
            "layouts": sum(tag.startswith("custom_scalars") for tag in tags["tensors"]),
            "hparams": sum("_hparams_" in tag for tag in board.summary_metadata),
        },
        "csv": len(csv.read_text().splitlines()[0].split(",")),
        "wandb": None,
        "mlflow": None,
    }
    if logger := by_kind.get("WandbLogger"):
        summary = dict(logger.experiment.summary)
        logger.experiment.finish()
        pictures = any("probe_sheet" in path.name for path in folder.rglob("*.png") if "wandb" in path.parts)
        found["wandb"] = {"number": TAG in summary, "histogram": "jacobian_distribution/logits/frobenius" in summary}
        found["wandb"]["picture"] = pictures
    if logger := by_kind.get("MLFlowLogger"):
        metrics = logger.experiment.get_run(logger.run_id).data.metrics
        names = [path.name for path in (folder / "mlflow").rglob("*")]
        found["mlflow"] = {"number": TAG in metrics, "picture": any("probe_sheet" in name for name in names)}
        found["mlflow"]["text"] = any(name.startswith("how_to_read") for name in names)
    print(json.dumps(found))


main()
