import numpy as np
import pytest
from PIL import Image
from scipy import signal, stats
from scipy.special import gamma

from qdnet_keras.evaluation.methods import nss

SHAPES = (0.5, 0.8, 1.0, 2.0, 4.0)


def noise(seed=0, size=(60, 70)):
    return np.random.default_rng(seed).uniform(0, 255, size)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [0.02, 30.0])
def test_ggd_parameters_are_recovered(shape, scale):
    sample = stats.gennorm.rvs(shape, scale=scale, size=400_000, random_state=1)
    fitted, deviation = nss.fit_ggd(sample)
    assert fitted == pytest.approx(shape, rel=0.03)
    assert deviation == pytest.approx(stats.gennorm.std(shape, scale=scale), rel=0.01)


def test_ggd_of_extremes():
    assert nss.fit_ggd(np.zeros(9)) == (pytest.approx(10), 0.0)
    assert nss.fit_ggd(np.array([-3.0, 3.0])) == (pytest.approx(10), pytest.approx(3))
    one_peak = np.zeros(100_000)
    one_peak[0] = 1
    assert nss.fit_ggd(one_peak)[0] == pytest.approx(0.2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("left", "right"), [(1.0, 1.0), (0.5, 2.0), (3.0, 1.0)])
def test_aggd_parameters_are_recovered(shape, left, right):
    rng = np.random.default_rng(2)
    sizes = np.abs(stats.gennorm.rvs(shape, size=400_000, random_state=3))
    is_left = rng.uniform(size=sizes.size) < left / (left + right)
    sample = np.where(is_left, -left * sizes, right * sizes)
    fitted, mean, left_variance, right_variance = nss.fit_aggd(sample)
    unit = gamma(3 / shape) / gamma(1 / shape)
    assert fitted == pytest.approx(shape, rel=0.04)
    assert left_variance == pytest.approx(left**2 * unit, rel=0.03)
    assert right_variance == pytest.approx(right**2 * unit, rel=0.03)
    expected = (right - left) * gamma(2 / shape) / gamma(1 / shape)
    assert mean == pytest.approx(expected, rel=0.05, abs=0.02)
    assert mean == pytest.approx(sample.mean(), rel=0.05, abs=0.02)


def test_spread_and_shape_are_around_the_mean():
    sample = stats.gennorm.rvs(1.5, loc=7, scale=2, size=100_000, random_state=0)
    spread, shape = nss.spread_and_shape(sample)
    assert spread == pytest.approx(sample.std())
    assert shape == nss.fit_ggd(sample - sample.mean())[0]


def test_aggd_of_extremes():
    assert nss.fit_aggd(np.zeros(5)) == (pytest.approx(10), 0.0, 0.0, 0.0)
    shape, mean, left, right = nss.fit_aggd(np.array([1.0, 2.0, 0.5]))
    assert np.isfinite([shape, mean]).all() and mean > 0
    assert (left, right) == (0.0, pytest.approx(5.25 / 3))
    mirrored = nss.fit_aggd(-np.array([1.0, 2.0, 0.5]))
    assert mirrored == (pytest.approx(shape), pytest.approx(-mean), right, left)


def test_normalised_by_a_full_window_and_zeros_beyond_the_border():
    picture = noise()
    window = np.outer(*[np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))] * 2)
    window /= window.sum()
    mean = signal.convolve2d(picture, window, "same")
    spread = np.sqrt(np.abs(signal.convolve2d(picture**2, window, "same") - mean**2))
    np.testing.assert_allclose(nss.local_moments(picture), [mean, spread], rtol=1e-9)
    expected = (picture - mean) / (spread + 1)
    np.testing.assert_allclose(nss.normalised(picture), expected, rtol=1e-6, atol=1e-9)


def test_normalised_ignores_brightness_inside():
    picture = np.full((40, 40), 200.0)
    picture[10:20, 10:20] += 0.5
    inner = np.s_[3:-3, 3:-3]
    dark, bright = nss.normalised(picture - 150), nss.normalised(picture)
    np.testing.assert_allclose(bright[inner], dark[inner], atol=1e-4)
    assert nss.local_moments(picture)[1][25:35, 25:35].max() < 1e-5


def test_log_derivatives_by_hand():
    values = np.exp(np.arange(9.0).reshape(3, 3) ** 2 / 10) - 0.1  # J = k² / 10
    across, down, main, second, square, cross, corners = nss.log_derivatives(values)
    np.testing.assert_allclose(across[0], [0 - 0.4, 0.1, 0.3], atol=1e-9)  # wrapped
    np.testing.assert_allclose(down[:, 0], [0 - 3.6, 0.9, 2.7], atol=1e-9)
    np.testing.assert_allclose(main[1, 1], 1.6)  # 16 - 0
    np.testing.assert_allclose(second[0, 1], 0.1 - 0.9)
    np.testing.assert_allclose(square[1, 1], 0 + 1.6 - 0.1 - 0.9)
    np.testing.assert_allclose(cross[1, 1], (1 + 49 - 9 - 25) / 10)
    np.testing.assert_allclose(corners[1, 1], (0 + 64 - 4 - 36) / 10)
    np.testing.assert_allclose([cross[0, 0], corners[0, 0]], [0.9 - 0.1, 1.6])  # zeros beyond
    np.testing.assert_allclose(nss.log_derivatives(-values)[0], across)


def test_neighbour_products_by_hand():
    values = np.array([[1.0, 2.0, 3.0], [5.0, 7.0, 11.0], [13.0, 17.0, 19.0]])
    left, above, diagonal, second = nss.neighbour_products(values)
    np.testing.assert_array_equal(left[1], [55, 35, 77])
    np.testing.assert_array_equal(above[:, 0], [13, 5, 65])
    assert (diagonal[1, 1], diagonal[0, 0]) == (7 * 1, 1 * 19)
    assert (second[1, 1], second[2, 0]) == (7 * 13, 13 * 3)


def test_half_keeps_flat_areas_and_slopes():
    flat = nss.half(np.full((33, 40), 7.5))
    assert flat.shape == (17, 20)
    np.testing.assert_allclose(flat, 7.5, rtol=1e-12)
    slope = nss.half(np.tile(np.arange(64.0), (8, 1)))
    np.testing.assert_allclose(slope[:, 4:-4], np.tile(np.arange(0.5, 64, 2)[4:-4], (4, 1)))


def test_half_is_that_of_pillow_inside():
    picture = noise(size=(64, 50)).astype(np.float32)
    expected = Image.fromarray(picture).resize((25, 32), Image.Resampling.BICUBIC)
    inner = np.s_[3:-3, 3:-3]
    found = nss.half(picture.astype(np.float64))
    np.testing.assert_allclose(found[inner], np.asarray(expected)[inner], rtol=1e-5)


def test_half_mirrors_the_border():
    picture = noise(size=(20, 24))
    mirrored = np.pad(picture, 8, mode="symmetric")
    np.testing.assert_allclose(nss.half(picture), nss.half(mirrored)[4:-4, 4:-4])


def test_half_is_antialiased():
    stripes = np.tile(np.array([0.0, 255.0]), (16, 16))
    np.testing.assert_allclose(nss.half(stripes)[:, 2:-2], 127.5, atol=1)


def test_grey_is_rounded_to_8_bits():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8)
    luma = nss.grey(pixels)
    np.testing.assert_array_equal(luma, np.rint(luma))
    np.testing.assert_allclose(luma, pixels @ [0.299, 0.587, 0.114], atol=0.52)
    np.testing.assert_array_equal(nss.grey(pixels.astype(np.uint16) * 257), luma)


def test_four_moments():
    sample = stats.gamma.rvs(2, size=500, random_state=0)
    expected = [sample.mean(), sample.std(), stats.skew(sample), stats.kurtosis(sample, fisher=0)]
    np.testing.assert_allclose(nss.four_moments(sample), expected)
    assert nss.four_moments(np.full(5, 3.0)) == [3.0, 0.0, 0.0, 0.0]
