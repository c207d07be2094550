import numpy as np
import pytest
from layer_contract import check_layer
from sklearn.decomposition import PCA

from qdnet_keras.model.layers import Novelty
from qdnet_keras.model.layers.novelty import COMPONENTS, MARGIN


def correlated(rng, pictures, count=120, factors=COMPONENTS, noise=0.3):
    """Statistics that vary together along some directions, and a little on their own."""
    directions = np.random.default_rng(1).standard_normal((factors, count))
    common = rng.standard_normal((pictures, factors)) * np.linspace(3, 1, factors)
    own = noise * rng.standard_normal((pictures, count))
    return (5 + common @ directions + own).astype("float32")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def layer(rng):
    layer = Novelty(dtype="float32")
    layer(correlated(rng, 2))
    layer.adapt(correlated(rng, 600))
    return layer


def test_contract(rng, tmp_path):
    def make(dtype):
        return Novelty(dtype="float32")

    check_layer(make, [correlated(rng, 3)], tmp_path, half_dtypes=["float32"])


def test_nothing_is_new_to_a_layer_that_knows_nothing(rng):
    np.testing.assert_array_equal(Novelty()(correlated(rng, 3)), 0)


def test_equals_what_scikit_learn_cannot_reconstruct(rng):
    known, new = correlated(rng, 600), correlated(rng, 50, noise=0.6)
    layer = Novelty()
    layer(known)
    layer.adapt(known)
    mean, scale = known.mean(0, dtype="float64"), known.std(0, dtype="float64") + 1e-3
    pca = PCA(COMPONENTS, svd_solver="full").fit((known - mean) / scale)

    def error(statistics):
        standardised = (statistics - mean) / scale
        again = pca.inverse_transform(pca.transform(standardised))
        return np.square(standardised - again).mean(1)

    unit = MARGIN * np.quantile(error(known), 0.99)
    np.testing.assert_allclose(layer(new), error(new) / unit, rtol=1e-3)


def test_what_breaks_the_common_pattern_is_new_and_what_is_only_extreme_is_not(layer, rng):
    usual = correlated(rng, 200)
    extreme = 5 + 2 * (usual - 5)
    shuffled = rng.permuted(usual, axis=1)
    assert np.max(layer(usual)) < 0.5
    assert np.max(layer(extreme)) < 1
    assert np.min(layer(shuffled)) > 1


@pytest.mark.parametrize("pictures", [1, 5])
def test_few_pictures_are_no_error(pictures, rng):
    layer = Novelty()
    known = correlated(rng, pictures)
    layer(known)
    layer.adapt(known)
    assert np.isfinite(layer(correlated(rng, 4))).all()
    np.testing.assert_allclose(layer(known), 0, atol=0.2)
