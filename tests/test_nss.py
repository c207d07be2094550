import cv2
import numpy as np
import pytest
from scipy import ndimage, stats
from scipy.special import gamma

from qdnet_keras.evaluation.methods import nss

SHAPES = (0.5, 0.8, 1.0, 2.0, 4.0)


def noise(seed=0, size=(60, 70)):
    return np.random.default_rng(seed).uniform(0, 255, size).astype(np.float32)


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


def test_aggd_of_extremes():
    assert nss.fit_aggd(np.zeros(5)) == (pytest.approx(10), 0.0, 0.0, 0.0)
    shape, mean, left, right = nss.fit_aggd(np.array([1.0, 2.0, 0.5]))
    assert np.isfinite([shape, mean]).all() and mean > 0
    assert (left, right) == (0.0, pytest.approx(5.25 / 3))
    mirrored = nss.fit_aggd(-np.array([1.0, 2.0, 0.5]))
    assert mirrored == (pytest.approx(shape), pytest.approx(-mean), right, left)


def test_normalised_against_scipy():
    picture = noise()
    blur = {"sigma": 7 / 6, "radius": 3, "mode": "nearest"}
    exact = picture.astype(np.float64)
    mean = ndimage.gaussian_filter(exact, **blur)
    spread = np.sqrt(ndimage.gaussian_filter((exact**2), **blur) - mean**2)
    np.testing.assert_allclose(nss.normalised(picture), (exact - mean) / (spread + 1), atol=1e-4)
    found = nss.local_moments(picture)
    np.testing.assert_allclose(found, [mean, spread], rtol=1e-5)


def test_normalised_ignores_brightness_even_where_it_is_flat():
    picture = np.full((40, 40), 200, np.float32)
    picture[10:20, 10:20] += 0.5
    np.testing.assert_allclose(nss.normalised(picture), nss.normalised(picture - 150), atol=1e-4)
    assert nss.local_moments(picture)[1][30:, 30:].max() < 1e-3


def test_log_derivatives_by_hand():
    values = np.exp(np.arange(9.0).reshape(3, 3) ** 2 / 10) - 0.1  # J = k² / 10
    across, down, main, second, square, cross, corners = nss.log_derivatives(values)
    np.testing.assert_allclose(across[0], [0.1, 0.3], rtol=1e-6)
    np.testing.assert_allclose(down[:, 0], [0.9, 2.7], rtol=1e-6)
    np.testing.assert_allclose(main[0, 0], 1.6, rtol=1e-6)  # 16 - 0
    np.testing.assert_allclose(second[0, 0], 0.9 - 0.1, rtol=1e-6)
    np.testing.assert_allclose(square[0, 0], 0 + 1.6 - 0.1 - 0.9, rtol=1e-6)
    np.testing.assert_allclose(cross, [[(1 + 49 - 9 - 25) / 10]], rtol=1e-6)
    np.testing.assert_allclose(corners, [[(0 + 64 - 4 - 36) / 10]], rtol=1e-6)
    np.testing.assert_allclose(nss.log_derivatives(-values)[0], across)


def test_neighbour_products_by_hand():
    right, below, diagonal, second = nss.neighbour_products(np.array([[1.0, 2.0], [3.0, 5.0]]))
    np.testing.assert_array_equal(right, [[2], [15]])
    np.testing.assert_array_equal(below, [[3, 10]])
    assert (diagonal, second) == (5, 6)


def test_half_keeps_flat_areas_and_slopes():
    flat = nss.half(np.full((33, 40), 7.5, np.float32))
    assert flat.shape == (17, 20)
    np.testing.assert_allclose(flat, 7.5, rtol=1e-6)
    slope = nss.half(np.tile(np.arange(64, dtype=np.float32), (8, 1)))
    np.testing.assert_allclose(slope[:, 4:-4], np.tile(np.arange(0.5, 64, 2)[4:-4], (4, 1)))


def test_half_is_antialiased():
    stripes = np.tile(np.array([0, 255], np.float32), (16, 16))
    np.testing.assert_allclose(nss.half(stripes)[:, 2:-2], 127.5, atol=1)


def test_grey_and_scales():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8)
    luma = nss.grey(pixels)
    np.testing.assert_allclose(luma, pixels @ [0.299, 0.587, 0.114], atol=1e-3)
    np.testing.assert_allclose(nss.grey(pixels.astype(np.uint16) * 257), luma, atol=1e-3)
    np.testing.assert_array_equal(nss.grey(pixels.astype(np.float32)), luma)


def test_four_moments():
    sample = stats.gamma.rvs(2, size=500, random_state=0)
    expected = [sample.mean(), sample.std(), stats.skew(sample), stats.kurtosis(sample, fisher=0)]
    np.testing.assert_allclose(nss.four_moments(sample), expected)
    assert nss.four_moments(np.full(5, 3.0)) == [3.0, 0.0, 0.0, 0.0]


def test_threads_do_not_change_results():
    picture = noise(size=(300, 300))
    before = cv2.getNumThreads()
    try:
        results = []
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            results.append(nss.normalised(picture))
        np.testing.assert_array_equal(*results)
    finally:
        cv2.setNumThreads(before)
