"""What is measured is the same number of samples of each class, from all over the stream, however it is cut."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from jacoscope.callbacks.jacobian.sampling import StratifiedSelection, choose_evenly, dataset_indices


def select(labels: torch.Tensor, indices: torch.Tensor, batch_size: int, max_samples: int) -> StratifiedSelection:
    selection = StratifiedSelection(max_samples)
    for piece in torch.arange(len(labels)).split(batch_size):
        selection.update(indices[piece].float().unsqueeze(1), labels[piece], indices[piece])
    return selection


@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 90), st.integers(1, 12), st.integers(0, 1000))
def test_batches_do_not_matter_and_classes_are_even(
    count: int, batch_size: int, max_samples: int, classes: int, seed: int
) -> None:
    labels = torch.randint(0, classes, (count,), generator=torch.Generator().manual_seed(seed))
    indices = torch.arange(count)
    selection = select(labels, indices, batch_size, max_samples)

    whole = choose_evenly(labels, indices, max_samples)
    assert set(selection.indices.tolist()) == set(whole.tolist())
    assert len(whole) <= max_samples
    assert selection.inputs is not None
    assert torch.equal(selection.inputs.squeeze(1).long(), selection.indices)
    assert torch.equal(labels[selection.indices], selection.labels)
    available = labels.unique(return_counts=True)[1]
    if len(available) <= max_samples:
        chosen = labels[whole].unique(return_counts=True)[1]
        assert chosen.tolist() == available.clamp(max=max_samples // len(available)).tolist()


@given(st.integers(1, 100), st.integers(1, 4), st.integers(1, 60))
def test_processes_together_choose_what_one_alone_does(count: int, processes: int, max_samples: int) -> None:
    data = TensorDataset(torch.arange(count))
    labels = (torch.arange(count) * 7) % 3
    parts = []
    for rank in range(processes):
        sampler = DistributedSampler(data, processes, rank, shuffle=False)
        own = dataset_indices(DataLoader(data, 5, sampler=sampler))
        assert own is not None
        mine = torch.tensor(list(own))
        parts.append(select(labels[mine], mine, 5, max_samples))
    all_labels = torch.cat([part.labels for part in parts])
    all_indices = torch.cat([part.indices for part in parts])
    together = all_indices[choose_evenly(all_labels, all_indices, max_samples)]
    alone = choose_evenly(labels, torch.arange(count), max_samples)
    assert sorted(together.tolist()) == sorted(alone.tolist())


def test_samples_come_from_all_over_the_stream() -> None:
    chosen = choose_evenly(torch.zeros(1000, dtype=torch.int64), torch.arange(1000), 50)
    assert set((chosen // 100).bincount(minlength=10).tolist()) <= {4, 5, 6}


def test_indices_of_a_shuffled_loader_are_not_guessed() -> None:
    assert dataset_indices(DataLoader(TensorDataset(torch.arange(4)), shuffle=True)) is None
