"""Quantiles are NumPy's, and stay what they are beside infinite values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jacoscope.analysis.summary import quantiles

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)
AT = [0, 0.05, 0.3, 0.5, 0.95, 1]


@given(NUMBERS)
def test_of_finite_values_they_are_those_of_numpy(values: list[float]) -> None:
    assert quantiles(np.array(values), AT) == pytest.approx(np.quantile(values, AT), abs=1e-6)


@given(NUMBERS, st.integers(0, 10))
def test_infinite_values_count_as_the_largest(values: list[float], infinite: int) -> None:
    large = 1e15
    found = np.array(quantiles(np.array(values + [np.inf] * infinite), AT))
    among_large = np.quantile(values + [large] * infinite, AT)
    beside_them = among_large > 2e6
    assert np.isinf(found[beside_them]).all()
    assert found[~beside_them] == pytest.approx(among_large[~beside_them], abs=1e-5)
