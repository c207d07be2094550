import numpy as np
import pytest
from layer_contract import check_layer
from sklearn.covariance import EmpiricalCovariance

from qdnet_keras.model.layers import Novelty
from qdnet_keras.model.layers.novelty import MARGIN


def correlated(rng, pictures, count=40, factors=10, noise=0.3):
    """Statistics that vary together along some directions, and a little on their own."""
    directions = np.random.default_rng(1).standard_normal((factors, count))
    common = rng.standard_normal((pictures, factors)) * np.linspace(3, 1, factors)
    own = noise * rng.standard_normal((pictures, count))
    return (5 + common @ directions + own).astype("float32")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def adapted(known):
    layer = Novelty(dtype="float32")
    layer(known)
    layer.adapt(known)
    return layer


def test_contract(rng, tmp_path):
    def make(dtype):
        return Novelty(dtype="float32")

    check_layer(make, [correlated(rng, 3)], tmp_path, half_dtypes=["float32"])


def test_nothing_is_new_to_a_layer_that_knows_nothing(rng):
    np.testing.assert_array_equal(Novelty()(correlated(rng, 3)), 0)


def test_equals_the_mahalanobis_distance_of_scikit_learn(rng):
    known, new = correlated(rng, 600), correlated(rng, 50, noise=0.6)
    layer = adapted(known)
    reference = EmpiricalCovariance().fit(known.astype("float64"))
    unit = MARGIN * np.quantile(reference.mahalanobis(known), 0.99)
    np.testing.assert_allclose(layer(new), reference.mahalanobis(new) / unit, rtol=1e-3)


def test_what_breaks_the_common_pattern_is_newer_than_what_keeps_it(rng):
    layer = adapted(correlated(rng, 4000))
    usual = correlated(rng, 200)
    shuffled = rng.permuted(usual, axis=1)
    assert np.mean(layer(usual) > 1) <= 0.03
    assert np.min(layer(shuffled)) > 1


@pytest.mark.parametrize("pictures", [1, 5])
def test_few_pictures_are_no_error(pictures, rng):
    known = correlated(rng, pictures)
    layer = adapted(known)
    assert np.isfinite(layer(correlated(rng, 4))).all()
    assert np.max(layer(known)) <= 1.2
