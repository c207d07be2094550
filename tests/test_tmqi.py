"""TMQI against closed forms, a slow reference and properties that its paper states."""

import numpy as np
import pytest
from scipy import stats
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve2d

from qdnet_keras.synthesis import tmqi as module
from qdnet_keras.synthesis.tmqi import (
    MIN_SIDE,
    local_fidelity,
    statistical_naturalness,
    structural_fidelity,
    tmqi,
    visibility,
)

RANDOM = np.random.default_rng(5)
SMOOTH = gaussian_filter(RANDOM.normal(size=(200, 230)), 3)
GREY = np.clip(116 + 250 * SMOOTH + 8 * RANDOM.normal(size=SMOOTH.shape), 0, 255)


def checkerboard(mean: float, contrast: float, side: int = 220) -> np.ndarray:
    """Pixels `mean ± amplitude` with the standard deviation `contrast` in each 11×11 block."""
    sign = 1 - 2 * (np.indices((side, side)).sum(0) % 2)
    blocks = sign.reshape(side // 11, 11, side // 11, 11)
    return mean + contrast * sign / blocks.std(axis=(1, 3), ddof=1).mean()


def test_equal_structure_has_full_fidelity():
    assert structural_fidelity(GREY, GREY) == pytest.approx(1, abs=1e-12)
    assert structural_fidelity(1000 * GREY + 5, GREY) == pytest.approx(1, abs=0.02)


def test_inverted_structure_has_none():
    assert structural_fidelity(GREY * 1e6, 255 - GREY) == 0


def test_flat_rendering_loses_contrast_by_the_closed_form():
    # The covariance is 0, hence the second factor 1; of nothing the eye is said to see Φ(-3).
    hdr = GREY * 1e6
    lost = local_fidelity(hdr, np.full_like(hdr, 90.0), 16)
    unseen = stats.norm.cdf(-3)
    expected = (2 * unseen + 0.01) / (1 + unseen**2 + 0.01)
    np.testing.assert_allclose(lost, expected, rtol=1e-5)


@pytest.mark.parametrize("frequency", [1, 2, 4, 8, 16])
def test_visibility_is_a_gaussian_psychometric_function_of_mannos_and_sakrison(frequency):
    x = 0.114 * frequency
    threshold = 128 / (140 * 2.6 * (0.0192 + x) * np.exp(-(x**1.1)))
    std = np.linspace(0, 4 * threshold, 30)
    expected = stats.norm.cdf(std, threshold, threshold / 3)
    np.testing.assert_allclose(visibility(std, frequency), expected, atol=1e-12)
    assert visibility(np.array(threshold), frequency) == pytest.approx(0.5)


def test_eye_is_most_sensitive_between_4_and_16_cycles():
    seen = [visibility(np.array(1.0), frequency) for frequency in (1, 2, 8, 30)]
    assert seen[0] < seen[1] < seen[2] > seen[3]


def test_local_fidelity_matches_windows_one_by_one():
    window = np.outer(*[np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))] * 2)
    window /= window.sum()
    hdr, ldr = GREY[:14, :13] * 3, GREY[3:17, 2:15]
    got = local_fidelity(hdr, ldr, 4)
    assert got.shape == (4, 3)
    for row in range(4):
        for column in range(3):
            x, y = (p[row : row + 11, column : column + 11] for p in (hdr, ldr))
            mx, my = (window * x).sum(), (window * y).sum()
            sx, sy = (np.sqrt((window * (p - m) ** 2).sum()) for p, m in ((x, mx), (y, my)))
            cross = (window * (x - mx) * (y - my)).sum()
            px, py = visibility(np.array(sx), 4), visibility(np.array(sy), 4)
            expected = (2 * px * py + 0.01) / (px**2 + py**2 + 0.01) * (cross + 10) / (sx * sy + 10)
            assert got[row, column] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shape", [(8, 6), (9, 7)])
def test_halving_is_a_2x2_mean_at_every_second_pixel(shape):
    picture = RANDOM.normal(size=shape)
    extended = np.pad(picture, ((0, 1), (0, 1)), "edge")
    expected = convolve2d(extended, np.full((2, 2), 0.25), "valid")[::2, ::2]
    np.testing.assert_allclose(module._halve(picture), expected, atol=1e-12)


def test_naturalness_peaks_at_the_mode_of_natural_pictures():
    mode = 64.29 * (4.4 - 1) / (4.4 + 10.1 - 2)
    assert statistical_naturalness(checkerboard(115.94, mode)) == pytest.approx(1, abs=1e-9)


def test_incomplete_blocks_are_filled_with_zeros_and_count_by_their_pixels():
    picture = np.full((22, 15), 100.0)  # whole blocks are flat, the others have 4 columns of 11
    inside = 4 / 11
    filled = 100 * np.sqrt(inside * (1 - inside) * 121 / 120)
    x, mode = filled * (4 / 15) / 64.29, 3.4 / 12.5
    contrast = (x / mode) ** 3.4 * ((1 - x) / (1 - mode)) ** 9.1
    brightness = np.exp(-(((100 - 115.94) / 27.99) ** 2) / 2)
    assert statistical_naturalness(picture) == pytest.approx(contrast * brightness, rel=1e-9)


@pytest.mark.parametrize("off", [-2, -1, 1, 2])
def test_brightness_falls_off_as_a_gaussian_of_28(off):
    mode = 64.29 * 3.4 / 12.5
    found = statistical_naturalness(checkerboard(115.94 + off * 27.99, mode))
    assert found == pytest.approx(np.exp(-(off**2) / 2), abs=1e-9)


@pytest.mark.parametrize("contrast", [2.0, 10.0, 30.0, 50.0])
def test_contrast_falls_off_as_a_beta_density(contrast):
    x, mode = contrast / 64.29, 3.4 / 12.5
    expected = (x / mode) ** 3.4 * ((1 - x) / (1 - mode)) ** 9.1
    found = statistical_naturalness(checkerboard(115.94, contrast))
    assert found == pytest.approx(expected, rel=1e-6)


def test_flat_and_extreme_pictures_are_not_natural():
    assert statistical_naturalness(np.full((220, 220), 115.94)) < 1e-40
    assert statistical_naturalness(checkerboard(127.5, 120)) == 0  # beyond the beta's support


def picture(scale: float, offset: float) -> np.ndarray:
    grey = np.clip(offset + scale * (GREY - GREY.mean()), 0, 255)
    return np.repeat(np.rint(grey)[..., None], 3, axis=2).astype(np.uint8)


def test_quality_mixes_both_parts_with_the_published_weights():
    hdr = np.exp(3 * GREY / 255)[..., None] * np.array([1.0, 0.8, 0.5])
    q, s, n = tmqi(hdr, picture(1.0, 116))
    assert q == pytest.approx(0.8012 * s**0.3046 + 0.1988 * n**0.7088)
    assert 0 < n < 1
    assert 0.5 < s < 1


def test_faults_lower_the_quality():
    hdr = np.repeat(GREY[..., None], 3, axis=2).astype(np.float32)
    sound, dim, grey, burnt = (
        tmqi(hdr, picture(*pair)) for pair in ((1, 116), (1, 40), (0.05, 116), (6, 220))
    )
    assert sound.n > dim.n
    assert sound.q > max(dim.q, grey.q, burnt.q)
    assert sound.s > max(grey.s, burnt.s)


def test_unit_of_the_radiance_does_not_matter():
    hdr = np.exp(3 * GREY / 255)[..., None] * np.ones(3)
    ldr = picture(1, 116)
    assert tmqi(1e-4 * hdr, ldr) == pytest.approx(tmqi(1e6 * hdr, ldr), abs=1e-9)


@pytest.mark.parametrize(
    ("hdr", "ldr", "words"),
    [
        (np.ones((200, 200, 3)), np.zeros((200, 201, 3), np.uint8), "alike"),
        (np.ones((200, 200)), np.zeros((200, 200), np.uint8), "alike"),
        (np.ones((MIN_SIDE - 1, 200, 3)), np.zeros((MIN_SIDE - 1, 200, 3), np.uint8), "161"),
        (RANDOM.random((200, 200, 3)), np.zeros((200, 200, 3)), "uint8"),
        (np.full((200, 200, 3), 3.0), np.zeros((200, 200, 3), np.uint8), "the same everywhere"),
        (np.full((200, 200, 3), np.nan), np.zeros((200, 200, 3), np.uint8), "finite"),
    ],
)
def test_bad_arguments(hdr, ldr, words):
    with pytest.raises(ValueError, match=words):
        tmqi(hdr, ldr)


def test_smallest_picture():
    side = MIN_SIDE
    hdr = RANDOM.random((side, side, 3))
    assert 0 <= tmqi(hdr, np.uint8(255 * hdr)).q <= 1
