import torch
from hypothesis import given
from hypothesis import strategies as st

from jacoscope.data.order import EpochOrder, derived_seed, seed_batch

SIZES = st.integers(1, 60)


@given(samples=SIZES, epoch=st.integers(0, 5), done=st.integers(0, 60), passes=st.integers(1, 3))
def test_going_on_within_an_epoch_gives_the_rest_of_it_and_then_whole_epochs(
    samples: int, epoch: int, done: int, passes: int
) -> None:
    alone = EpochOrder(range(samples), seed=3, passes=passes)
    resumed = EpochOrder(range(samples), seed=3, resume_at=(epoch, done), passes=passes)
    assert len(alone) == len(list(alone)) == passes * samples
    for later in (epoch, epoch + 1):
        alone.set_epoch(later)
        resumed.set_epoch(later)
        assert list(resumed) == list(alone)[done if later == epoch else 0 :]


@given(samples=SIZES, processes=st.integers(1, 4), batch=st.integers(1, 8))
def test_processes_together_have_the_batches_of_one(samples: int, processes: int, batch: int) -> None:
    alone = list(EpochOrder(range(samples), seed=1))
    shares = [list(EpochOrder(range(samples), 1, rank, processes)) for rank in range(processes)]
    assert len({len(share) for share in shares}) == 1
    for start in range(0, samples - samples % (batch * processes), batch * processes):
        place = start // processes
        together = [index for share in shares for index in share[place : place + batch]]
        assert sorted(together) == sorted(alone[start : start + batch * processes])
    assert {index for share in shares for index in share} == set(range(samples))


def test_neighbouring_seeds_and_epochs_have_nothing_in_common() -> None:
    orders = {}
    for seed in range(20):
        order = EpochOrder(range(50), seed)
        for epoch in range(20):
            order.set_epoch(epoch)
            orders[tuple(order)] = seed, epoch
    assert len(orders) == 400
    assert len({derived_seed(a, b) & 0xFFFFFFFF for a in range(50) for b in range(50)}) == 2500


def test_what_is_random_in_a_batch_follows_from_its_place_alone() -> None:
    def draw(*place: int) -> torch.Tensor:
        torch.rand(place[0] + 3)  # whatever came before
        seed_batch(torch.device("cpu"), *place)
        return torch.rand(5)

    assert torch.equal(draw(0, 7, 1), draw(0, 7, 1))
    assert not torch.equal(draw(0, 7, 1), draw(0, 7, 0))
