import csv
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from jacoscope.errors import UserError
from jacoscope.models import MLP
from jacoscope.penalties import ForwardPass, JacobianPenalty, NoPenalty, Penalty
from jacoscope.training import ClassifierModule, constant, one_cycle


def loader(samples: int = 90, seed: int = 0) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(samples, 1, 4, 4, generator=generator)
    return DataLoader(TensorDataset(x, (x.mean((1, 2, 3)) > 0.5).long()), batch_size=32)


def module(**replaced: Any) -> ClassifierModule:
    parts = {
        "network": MLP((1, 4, 4), 2, hidden=(8,)),
        "loss": nn.CrossEntropyLoss(),
        "optimizer": partial(torch.optim.AdamW, lr=0.01),
        "scheduler": one_cycle,
        "num_classes": 2,
    }
    return ClassifierModule(**{**parts, **replaced})


def trainer(**arguments: Any) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    return Trainer(**{**quiet, "enable_model_summary": False, "max_epochs": 2, **arguments})


def test_evaluates_to_the_mean_over_samples_not_over_batches() -> None:
    classifier, data = module(), loader(90)  # 32 + 32 + 26: a mean over batches would differ
    (metrics,) = trainer().test(classifier, data, verbose=False)
    x, y = data.dataset.tensors  # type: ignore[attr-defined]
    with torch.no_grad():
        logits = classifier(x)
    assert metrics["test/loss"] == pytest.approx(nn.functional.cross_entropy(logits, y).item(), rel=1e-5)
    assert metrics["test/accuracy"] == pytest.approx((logits.argmax(1) == y).float().mean().item())


def test_logs_the_metrics_under_their_names() -> None:
    fit = trainer()
    fit.fit(module(), loader(), loader(seed=1))
    assert set(fit.callback_metrics) == {"train/loss", "train/accuracy", "val/loss", "val/accuracy"}


def test_logs_the_learning_rate_of_every_nth_step(tmp_path: Path) -> None:
    classifier = module()
    fit = trainer(max_epochs=2, logger=CSVLogger(tmp_path), log_every_n_steps=2)
    fit.fit(classifier, loader())
    steps = fit.global_step
    with (Path(fit.logger.log_dir) / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/learning_rate"]]
    logged = {int(row["step"]): float(row["train/learning_rate"]) for row in rows}
    assert list(logged) == list(range(0, steps, 2))
    schedule = one_cycle(torch.optim.AdamW(classifier.parameters(), lr=0.01), steps)
    for step in range(steps):
        if step % 2 == 0:
            assert logged[step] == pytest.approx(schedule.get_last_lr()[0], rel=1e-5)
        schedule.optimizer.step()
        schedule.step()


def test_training_is_the_plain_loop_of_pytorch() -> None:
    seed_everything(3, verbose=False)
    classifier = module(scheduler=constant)
    network = MLP((1, 4, 4), 2, hidden=(8,))
    network.load_state_dict(classifier.network.state_dict())
    trainer(max_epochs=2).fit(classifier, loader())

    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    for _ in range(2):
        for x, y in loader():
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x), y).backward()
            optimizer.step()
    for ours, plain in zip(classifier.network.parameters(), network.parameters(), strict=True):
        assert torch.equal(ours, plain)


def test_the_same_seed_gives_bitwise_the_same_weights() -> None:
    def weights(seed: int) -> torch.Tensor:
        seed_everything(seed, verbose=False)
        classifier = module()
        trainer().fit(classifier, loader())
        return nn.utils.parameters_to_vector(classifier.parameters()).detach()

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_the_schedule_spans_the_whole_training() -> None:
    classifier, rates = module(), []

    class Watch(nn.CrossEntropyLoss):
        def forward(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            rates.append(classifier.trainer.optimizers[0].param_groups[0]["lr"])
            return super().forward(logits, y)

    classifier.loss = Watch()
    trainer(max_epochs=4).fit(classifier, loader())
    assert len(rates) == 12
    assert max(rates) == pytest.approx(0.01, rel=0.2)
    assert rates[0] == pytest.approx(0.01 / 25)
    assert rates[-1] < 1e-5


@pytest.mark.parametrize(
    "optimizer", [partial(torch.optim.AdamW, lr=-1), partial(torch.optim.SGD, lr=0.1, nesterov=True)]
)
def test_an_optimizer_that_cannot_be_made_is_the_users_to_mend(optimizer: Any) -> None:
    with pytest.raises(UserError, match="optimizer or its scheduler"):
        trainer().fit(module(optimizer=optimizer), loader())


def test_a_penalised_training_is_the_plain_loop_of_pytorch() -> None:
    penalty = JacobianPenalty(0.2, ramp_up=0.5, every_n_steps=2, seed=4)
    seed_everything(3, verbose=False)
    classifier = module(scheduler=constant, penalty=penalty)
    network = MLP((1, 4, 4), 2, hidden=(8,))
    network.load_state_dict(classifier.network.state_dict())
    fit = trainer(max_epochs=2)
    fit.fit(classifier, loader())

    optimizer, step, values, losses = torch.optim.AdamW(network.parameters(), lr=0.01), 0, [], []
    for _ in range(2):
        values, losses = [], []
        for x, y in loader():
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(x), y)
            losses.append((loss.item(), len(y)))
            if weight := penalty.weight_at(step, 6):
                value = penalty(network, x, y, penalty.generator(step, x.device))
                values.append((value.item(), len(y)))
                loss = loss + weight * value
            loss.backward()
            optimizer.step()
            step += 1
    for ours, plain in zip(classifier.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours, plain)
    for name, logged in (("train/loss", losses), ("train/penalty", values)):
        mean = sum(value * count for value, count in logged) / sum(count for _, count in logged)
        assert fit.callback_metrics[name] == pytest.approx(mean, rel=1e-5)


def test_no_penalty_and_a_weight_of_zero_give_bitwise_the_same_weights() -> None:
    def weights(penalty: Penalty | None) -> torch.Tensor:
        seed_everything(1, verbose=False)
        classifier = module(penalty=penalty)
        trainer().fit(classifier, loader())
        return nn.utils.parameters_to_vector(classifier.parameters()).detach()

    expected = weights(None)
    assert torch.equal(weights(NoPenalty()), expected)
    assert torch.equal(weights(JacobianPenalty(0.0)), expected)
    assert not torch.equal(weights(JacobianPenalty(0.1)), expected)


def test_the_penalty_of_a_test_is_its_mean_over_all_samples() -> None:
    classifier, data = module(penalty=JacobianPenalty(0.0, None)), loader(90)
    (metrics,) = trainer().test(classifier, data, verbose=False)
    x, _ = data.dataset.tensors  # type: ignore[attr-defined]
    assert metrics["test/penalty"] == pytest.approx(JacobianPenalty(1.0, None)(classifier.network, x).item(), rel=1e-5)


def test_a_penalty_that_is_not_finite_stops_the_training() -> None:
    class Broken(Penalty):
        def at(self, at: ForwardPass, y: Any = None, generator: Any = None) -> torch.Tensor:  # noqa: ARG002
            return at.logits.sum() * torch.inf

    with pytest.raises(UserError, match="The optimizer has not taken this step"):
        trainer().fit(module(penalty=Broken(1.0)), loader())


@pytest.mark.parametrize("settings", [{"precision": "bf16-mixed"}, {"accumulate_grad_batches": 2}])
def test_a_penalty_lowers_the_norm_in_mixed_precision_and_with_accumulated_gradients(settings: dict[str, Any]) -> None:
    def norm(penalty: Penalty) -> float:
        seed_everything(1, verbose=False)
        classifier = module(penalty=penalty, optimizer=partial(torch.optim.AdamW, lr=0.05))
        fit = trainer(max_epochs=4, **settings)
        fit.fit(classifier, loader())
        return float(fit.test(classifier, loader(), verbose=False)[0]["test/penalty"])

    assert norm(JacobianPenalty(1.0)) < 0.5 * norm(JacobianPenalty(0.0))
