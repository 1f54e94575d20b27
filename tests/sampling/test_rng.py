import numpy as np

from tl_toolkit.sampling.rng import keyed_uniform


def test_keyed_uniform_depends_on_key_and_index_alone():
    many = keyed_uniform((1, 2), range(1000), 3)
    assert np.array_equal(keyed_uniform((1, 2), [7, 999], 3), many[[7, 999]])
    assert not np.any(keyed_uniform((1, 3), range(1000), 3) == many)


def test_keyed_uniform_is_uniform():
    numbers = keyed_uniform((0,), range(20_000), 3)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.01  # Four standard errors are 0.005.
    shares = np.histogram(numbers, bins=10, range=(0, 1))[0] / numbers.size
    assert np.all(abs(shares - 0.1) < 0.01)
    assert abs(np.corrcoef(numbers.T) - np.eye(3)).max() < 0.03
