import math

import pytest
import torch

from jacoscope.training import constant, cosine, one_cycle, steps


def rates(schedule: object, steps: int, **arguments: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = schedule(optimizer, steps, **arguments)  # type: ignore[operator]
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_constant_stays() -> None:
    assert rates(constant, 20) == [0.5] * 20


def test_steps_multiplies_by_the_factor_at_each_milestone() -> None:
    seen = rates(steps, 30)
    assert seen == pytest.approx([0.5] * 10 + [0.05] * 10 + [0.005] * 10)
    assert rates(steps, 8, milestones=[0.5], factor=0.5) == pytest.approx([0.5] * 4 + [0.25] * 4)  # type: ignore[arg-type]


@pytest.mark.parametrize("steps", [10, 100, 1000])
def test_one_cycle_warms_up_to_the_optimizers_rate_and_ends_near_zero(steps: int) -> None:
    seen = rates(one_cycle, steps, pct_start=0.25, div_factor=25, final_div_factor=1e4)
    assert max(seen) == pytest.approx(0.5, rel=0.1)
    assert seen.index(max(seen)) == pytest.approx(0.25 * steps, abs=2)
    assert seen[0] == pytest.approx(0.5 / 25)
    assert seen[-1] == pytest.approx(0.5 / 25 / 1e4)


@pytest.mark.parametrize("steps", range(1, 13))
def test_one_cycle_trains_however_few_steps_there_are(steps: int) -> None:
    seen = rates(one_cycle, steps)
    assert max(seen) >= 0.3 * 0.5
    assert all(rate > 0 for rate in seen)


@pytest.mark.parametrize("steps", [1, 2, 10, 100])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_cosine_is_half_a_cosine_after_a_straight_warm_up(steps: int, warmup: float) -> None:
    seen = rates(cosine, steps, warmup=warmup)
    up = max(1, round(warmup * steps))
    for step, rate in enumerate(seen):
        if step < up:
            expected = 0.5 * (step + 1) / up
        else:
            expected = 0.25 * (1 + math.cos(math.pi * (step - up) / (steps - up)))
        assert rate == pytest.approx(expected, abs=1e-9), step
