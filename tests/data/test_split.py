import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jacoscope.data import stratified_split
from jacoscope.errors import UserError

labels_and_sizes = st.lists(st.integers(0, 4), min_size=1, max_size=200).flatmap(
    lambda labels: st.tuples(st.just(torch.tensor(labels)), st.integers(0, len(labels) - 1))
)


@given(labels_and_sizes, st.integers(0, 2**31))
def test_parts_are_disjoint_complete_and_of_the_size_asked_for(case: tuple[torch.Tensor, int], seed: int) -> None:
    labels, size = case
    kept, held_out = stratified_split(labels, size, seed)
    assert len(held_out) == size
    assert torch.equal(torch.cat([kept, held_out]).sort().values, torch.arange(len(labels)))


@given(labels_and_sizes, st.integers(0, 100))
def test_every_class_gives_its_share_to_within_one(case: tuple[torch.Tensor, int], seed: int) -> None:
    labels, size = case
    _, held_out = stratified_split(labels, size, seed)
    share = labels.bincount(minlength=5) * size / len(labels)
    assert (labels[held_out].bincount(minlength=5) - share).abs().max() < 1


def test_depends_on_its_own_seed_and_on_nothing_else() -> None:
    labels = torch.arange(100) % 10
    torch.manual_seed(0)
    first = stratified_split(labels, 20, seed=1)
    state = torch.get_rng_state()
    torch.manual_seed(1)
    assert all(map(torch.equal, first, stratified_split(labels, 20, seed=1)))
    assert not torch.equal(first[1], stratified_split(labels, 20, seed=2)[1])
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("size", [-1, 10, 11])
def test_refuses_a_size_that_leaves_nothing_to_train_on(size: int) -> None:
    with pytest.raises(UserError, match=rf"data\.val_size={size} does not fit 10"):
        stratified_split(torch.zeros(10), size, seed=0)
