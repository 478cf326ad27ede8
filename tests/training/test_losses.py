import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from jacoscope.training import RubbishClassLoss


@given(st.integers(0, 1000), st.floats(0.1, 20))
def test_is_equation_9_of_the_paper(seed: int, height: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    distances = 10 * torch.rand(8, 10, generator=generator, dtype=torch.float64)
    labels = torch.randint(10, (8,), generator=generator)
    by_hand = distances[torch.arange(8), labels] + torch.log(
        torch.exp(torch.tensor(-height)) + torch.exp(-distances).sum(1)
    )
    ours = RubbishClassLoss(height)(-distances, labels)
    torch.testing.assert_close(ours, by_hand.mean(), rtol=1e-6, atol=1e-6)


def test_a_low_rubbish_class_takes_the_push_from_distant_wrong_classes() -> None:
    logits = torch.tensor([[-1.0, -30.0]], requires_grad=True)
    labels = torch.tensor([0])
    (near,) = torch.autograd.grad(RubbishClassLoss(2.0)(logits, labels), logits)
    (without,) = torch.autograd.grad(F.cross_entropy(logits, labels), logits)
    assert near[0, 0].abs() > without[0, 0].abs()  # the right class is still pulled in when all others are far
