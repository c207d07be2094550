import numpy as np
import pytest
from scipy import stats

from qdnet_keras.model import objective as losses
from qdnet_keras.model.cycle import latent_cycle


def test_score_likelihood_by_hand():
    mos, score = np.array([1.0, -0.5, 0.0], np.float32), np.array([0.0, -0.5, 3.0], np.float32)
    np.testing.assert_allclose(losses.score_likelihood(mos, score, 0.5), [2.0, 0.0, 18.0])


def test_score_likelihood_is_that_of_a_gaussian_up_to_a_constant():
    mos, score = np.array([1.0, -0.5, 0.3], np.float32), np.array([0.2, -0.4, 2.0], np.float32)
    exact = -stats.norm(score, 0.7).logpdf(mos)
    constant = np.log(0.7 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(
        losses.score_likelihood(mos, score, 0.7) + constant, exact, rtol=1e-5
    )


def test_kl_by_hand():
    loc, scale = (
        np.array([[0, 0], [3, 0], [0, 0]], np.float32),
        np.array([[1, 1], [1, 1], [1, np.e]], np.float32),
    )
    expected = [0.0, 4.5, (np.e**2 - 3) / 2]
    np.testing.assert_allclose(losses.kl_divergence(loc, scale), expected, rtol=1e-5, atol=1e-7)


def test_reconstruction_by_hand():
    picture = np.zeros((2, 1, 2, 3), "float32")
    rendered = np.array([[[[0.5, -0.5, 0], [0, 0, 0.2]]], [[[0, 0, 0], [0, 0, 0]]]], np.float32)
    np.testing.assert_allclose(losses.reconstruction(picture, rendered), [0.2, 0.0], rtol=1e-6)


def test_latent_cycle_by_hand():
    z, z_again = np.array([[1, 2], [0, 0]], np.float32), np.array([[1, 0], [0, 0]], np.float32)
    score, score_again = np.array([0.5, 1.0], np.float32), np.array([0.0, 1.0], np.float32)
    cycle = latent_cycle(z, z_again, score, score_again)
    np.testing.assert_allclose(cycle, [2.25, 0.0])


@pytest.mark.parametrize("size", [1, 3])
def test_every_term_has_one_value_a_picture(size):
    rng = np.random.default_rng(0)
    line = rng.random(size, "float32")
    latent = rng.random((size, 4), "float32")
    picture = rng.random((size, 5, 3, 3), "float32")
    values = (
        losses.score_likelihood(line, line, 1.0),
        losses.kl_divergence(latent, latent + 0.1),
        losses.reconstruction(picture, picture),
        latent_cycle(latent, latent, line, line),
    )
    assert [value.shape for value in values] == [(size,)] * 4
