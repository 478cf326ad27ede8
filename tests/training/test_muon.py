import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from jacoscope.models import LeNet5
from jacoscope.training import Muon, one_cycle
from jacoscope.training.muon import orthogonalize


@given(st.integers(1, 20), st.integers(1, 20), st.floats(1e-3, 1e3), st.integers(0, 100))
def test_orthogonalizing_keeps_directions_and_evens_out_their_lengths(
    rows: int, columns: int, size: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    U = torch.linalg.qr(torch.randn(rows, rows, generator=generator, dtype=torch.float64)).Q
    V = torch.linalg.qr(torch.randn(columns, columns, generator=generator, dtype=torch.float64)).Q
    rank = min(rows, columns)
    values = size * torch.linspace(0.5, 1, rank, dtype=torch.float64)
    result = U[:, :rank].T @ orthogonalize(U[:, :rank] @ values.diag() @ V[:, :rank].T) @ V[:, :rank]
    torch.testing.assert_close(result - result.diag().diag(), torch.zeros_like(result), atol=1e-9, rtol=0)
    assert result.diag().min() > 0.6
    assert result.diag().max() < 1.3


def test_all_but_hidden_weights_take_the_step_of_adamw() -> None:
    torch.manual_seed(0)
    ours, theirs = LeNet5(), LeNet5()
    theirs.load_state_dict(ours.state_dict())
    muon = Muon(ours.parameters(), adam_lr=1e-3, weight_decay=0.1)
    edges = [theirs.conv1.weight, theirs.fc3.weight]
    vectors = [p for p in theirs.parameters() if p.ndim == 1]
    adamw = torch.optim.AdamW([{"params": edges}, {"params": vectors, "weight_decay": 0.0}], lr=1e-3, weight_decay=0.1)
    for _ in range(3):
        x, y = torch.rand(8, 1, 28, 28), torch.randint(10, (8,))
        for model, optimizer in ((ours, muon), (theirs, adamw)):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
        with torch.no_grad():  # the same gradients for both, though the hidden weights go apart
            for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
                other.grad = mine.grad.clone()  # type: ignore[union-attr]
        muon.step()
        adamw.step()
    for name in ("conv1.weight", "fc3.weight", "conv2.bias", "fc1.bias"):
        torch.testing.assert_close(ours.get_parameter(name), theirs.get_parameter(name), rtol=1e-5, atol=1e-7)


def test_a_hidden_weight_moves_by_the_learning_rate_in_every_direction() -> None:
    model = LeNet5()
    before = model.fc1.weight.detach().clone()
    muon = Muon(model.parameters(), lr=0.01, weight_decay=0.0)
    model(torch.rand(300, 1, 28, 28)).square().sum().backward()
    muon.step()
    moved = torch.linalg.svdvals(model.fc1.weight.detach() - before) / 0.01
    assert moved.max() < 1.3


def test_goes_on_from_its_state_as_if_never_stopped() -> None:
    def steps(model: LeNet5, optimizer: Muon, first: int, last: int) -> None:
        for step in range(first, last):
            generator = torch.Generator().manual_seed(step)
            optimizer.zero_grad()
            model(torch.rand(4, 1, 28, 28, generator=generator)).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    whole, first_half, second_half = LeNet5(), LeNet5(), LeNet5()
    first_half.load_state_dict(whole.state_dict())
    steps(whole, Muon(whole.parameters()), 0, 4)
    optimizer = Muon(first_half.parameters())
    steps(first_half, optimizer, 0, 2)
    second_half.load_state_dict(first_half.state_dict())
    resumed = Muon(second_half.parameters())
    resumed.load_state_dict(optimizer.state_dict())
    steps(second_half, resumed, 2, 4)
    for a, b in zip(whole.parameters(), second_half.parameters(), strict=True):
        assert torch.equal(a, b)


def test_each_group_has_its_own_peak_under_a_schedule() -> None:
    optimizer = Muon(LeNet5().parameters(), lr=0.01, adam_lr=0.003)
    scheduler = one_cycle(optimizer, 10, pct_start=0.5)
    peaks = torch.zeros(3)
    for _ in range(10):
        peaks = torch.maximum(peaks, torch.tensor([group["lr"] for group in optimizer.param_groups]))
        optimizer.step()
        scheduler.step()
    torch.testing.assert_close(peaks, torch.tensor([0.01, 0.003, 0.003]))


def test_refuses_a_network_without_hidden_weights() -> None:
    with pytest.raises(ValueError, match="2 weights has none"):
        Muon(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).parameters())
