"""The Jacobians of a loader, chunk by chunk, are those of its batches, in bounded memory."""

import subprocess
import sys

import pytest
import torch

from jacoscope.jacobians import JacobianError, NonFiniteJacobianError, iter_jacobians, jacobian
from jacoscope.models import LeNet5

X = torch.rand(23, 1, 28, 28, generator=torch.Generator().manual_seed(0))
Y = torch.arange(23)


def loader(size=10):
    return [(X[i : i + size], Y[i : i + size], "name") for i in range(0, 23, size)]


@pytest.mark.parametrize("chunk_size", ["auto", None, 1, 7, 100])
def test_chunks_put_together_are_the_whole(chunk_size):
    model = LeNet5()
    chunks = list(iter_jacobians(model, loader(), chunk_size=chunk_size))
    torch.testing.assert_close(torch.cat([c.jacobian for c in chunks]), jacobian(model, X), rtol=0, atol=1e-6)
    assert torch.equal(torch.cat([c.inputs for c in chunks]), X)
    assert torch.equal(torch.cat([c.rest[0] for c in chunks]), Y)
    assert all(c.rest[1] == "name" for c in chunks)
    assert [c.start for c in chunks] == [int(c.rest[0][0]) for c in chunks]
    assert max(len(c.jacobian) for c in chunks) == (10 if chunk_size in ("auto", None) else min(chunk_size, 10))


def test_a_small_budget_makes_small_chunks():
    sizes = [len(c.jacobian) for c in iter_jacobians(LeNet5(), loader(), memory_budget=200_000)]
    assert max(sizes) == 3
    assert sum(sizes) == 23


@pytest.mark.parametrize("wrong", [{"chunk_size": -1}, {"chunk_size": 0}, {"chunk_size": 2.5}, {"memory_budget": 0}])
def test_wrong_sizes_are_named_before_anything_is_computed(wrong):
    (name,) = wrong
    with pytest.raises(JacobianError, match=name):
        next(iter_jacobians(LeNet5(), loader(), **wrong))


def test_other_kinds_of_batches():
    assert len(list(iter_jacobians(LeNet5(), [X[:2]]))) == 1
    batches = [{"image": X[:2]}]
    assert len(list(iter_jacobians(LeNet5(), batches, inputs=lambda b: b["image"], device="cpu"))) == 1
    labelled = [{"image": X[:5], "label": Y[:5], "name": "first"}]
    rests = [c.rest for c in iter_jacobians(LeNet5(), labelled, inputs=lambda b: b["image"], chunk_size=3)]
    assert [[rest["label"].tolist(), rest["name"]] for (rest,) in rests] == [[[0, 1, 2], "first"], [[3, 4], "first"]]
    (nothing,) = iter_jacobians(torch.nn.Linear(4, 0), [torch.rand(2, 4)])
    assert nothing.jacobian.shape == (2, 0, 4)
    with pytest.raises(JacobianError, match="inputs="):
        next(iter_jacobians(LeNet5(), batches))


def test_a_sample_that_is_not_finite_is_counted_through_the_loader():
    broken = [(X[:10],), (X[10:20].clone(),)]
    broken[1][0][4] = torch.nan
    with pytest.raises(NonFiniteJacobianError) as caught:
        list(iter_jacobians(LeNet5(), broken, chunk_size=3))
    assert caught.value.samples == [14]


def test_peak_memory_stays_within_the_budget_whatever_the_batch():
    program = """
import resource, torch
from jacoscope.jacobians import jacobian
from jacoscope.models import LeNet5
torch.set_num_threads(1)
model = LeNet5(channels=(64, 4), activation=torch.nn.ReLU)
jacobian(model, torch.rand(8, 1, 28, 28), memory_budget=32 << 20)
x = torch.rand(64, 1, 28, 28)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
J = jacobian(model, x, memory_budget=32 << 20)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 - J.numel() * 4 / 2**20)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 32  # MiB; the whole batch at once would take 128
