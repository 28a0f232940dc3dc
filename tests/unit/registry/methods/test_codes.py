"""Values are numbered as numpy does it, only faster."""

import numpy as np
import pytest

from registry.methods.codes import numbered

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "values",
    [
        RNG.integers(-3, 9, 200),
        RNG.integers(0, 10**12, 200),
        RNG.integers(0, 5, 200).astype(np.uint8),
        RNG.random(200) < 0.5,
        RNG.normal(size=200).round(1),
        np.array(["b", "a", "c", "a"] * 9),
        np.array(["b", "a", "c", "a"] * 9, dtype=object),
        np.array([3, 1, 2], dtype=object),
        np.zeros(0, dtype=np.int64),
        np.zeros(0),
    ],
    ids=lambda values: f"{values.dtype}-{len(values)}",
)
def test_values_are_numbered_as_numpy_does(values: np.ndarray) -> None:
    distinct, codes = np.unique(values, return_inverse=True)
    found, numbers = numbered(values)
    assert found == distinct.tolist()
    assert [type(one) for one in found] == [type(one) for one in distinct.tolist()]
    assert numbers.tolist() == codes.tolist()


def test_values_without_an_order_are_refused() -> None:
    with pytest.raises(TypeError):
        numbered(np.array([1, "a"], dtype=object))
