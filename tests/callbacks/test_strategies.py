"""JacobianCallback computes Jacobians by the strategy that was chosen, or says which it takes instead."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from jacoscope.callbacks import JacobianCallback
from jacoscope.callbacks.jacobian import measuring
from jacoscope.jacobians import jacobian

from .someone import Someone, X, last, mean_norm, numbers, train

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("given", [{}, {"strategy": "auto"}, {"strategy": "backward"}], ids=str)
def test_jacobians_are_computed_by_the_strategy_that_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    used = set()

    def spy(*args: Any, strategy: str, **kwargs: Any) -> Any:
        used.add(strategy)
        return jacobian(*args, strategy=strategy, **kwargs)

    monkeypatch.setattr(measuring, "jacobian", spy)
    module, _ = train(tmp_path, [JacobianCallback(max_samples=1000, **given)], epochs=1)
    assert used == {given.get("strategy", "vmap-jacrev")}
    assert last(tmp_path) == mean_norm(module, X)


def test_a_default_run_goes_through_vmap_and_jacrev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = Counter[str]()

    def counted(name: str, own: Any) -> Any:
        def function(*args: Any, **kwargs: Any) -> Any:
            called[name] += 1
            return own(*args, **kwargs)

        return function

    for name in ("vmap", "jacrev"):
        monkeypatch.setattr(torch.func, name, counted(name, getattr(torch.func, name)))
    train(tmp_path, [JacobianCallback()], epochs=1)
    assert called["vmap"] > 2
    assert called["jacrev"] > 2


class Branching(Someone):
    """Looks at the data to decide what to compute, which torch.func.vmap cannot follow."""

    def forward(self, x: Tensor) -> Any:
        returned = self.net(x)
        return returned if float(returned.detach().abs().max()) >= 0 else 2 * returned


class Hooked(Someone):
    """A hook doubles the gradient on its way back."""

    def __init__(self) -> None:
        super().__init__()
        self.net[2].register_full_backward_hook(lambda _, given, __: tuple(2 * each for each in given))


@pytest.mark.parametrize("kind", [Branching, Hooked])
def test_what_vmap_cannot_differentiate_is_measured_otherwise(tmp_path: Path, kind: type[Someone]) -> None:
    module, _ = train(tmp_path, [numbers()], kind(), epochs=1)
    assert last(tmp_path) == mean_norm(module, X)
