"""Settings of robustness curves that are measured in a moment."""

from collections.abc import Callable
from typing import Any

import pytest

from jacoscope.analysis.robustness.settings import Robustness

TINY: dict[str, Any] = {
    "epsilons": [0.02, 0.1],
    "l2_epsilons": [0.1, 0.5],
    "attacks": ["random_signs", "fgsm", "pgd_linf", "gaussian", "pgd_l2", "ddn"],
    "corruptions": {"blur": [1.0], "rotation": [20], "contrast": [0.5], "occlusion": [3], "noise": [0.2]},
    "steps": 5,
    "restarts": 1,
    "samples": 100,
    "seed": 0,
    "max_minutes": None,
}


@pytest.fixture(scope="session")
def settings() -> Callable[..., Robustness]:
    def read(**changed: Any) -> Robustness:
        found = Robustness.from_config({**TINY, **changed})
        assert found is not None
        return found

    return read
