"""Remedies: nothing at size 0, in range, each by a closed form or another library."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage import color

from qdnet_keras.advice.remedies import REMEDIES
from qdnet_keras.synthesis.edits import EDITS


def picture(seed: int = 0, shape: tuple[int, int] = (90, 120)) -> np.ndarray:
    """Smooth areas of many colours with fine texture, hardly any black or white."""
    random = np.random.default_rng(seed)
    areas = gaussian_filter(random.normal(size=(*shape, 3)), (8, 8, 0))
    areas = areas / areas.std() * 0.12 + random.normal(0, 0.02, (*shape, 1)) + 0.45
    return np.clip(areas, 0.02, 0.98).astype(np.float32)


def light(pixels: np.ndarray) -> np.ndarray:
    """CIE Y by scikit-image."""
    return color.rgb2xyz(pixels.astype(np.float64))[..., 1]


def luma(pixels: np.ndarray) -> np.ndarray:
    return pixels @ [0.2126, 0.7152, 0.0722]


def treated(name: str, pixels: np.ndarray, size: float) -> np.ndarray:
    return REMEDIES[name].apply(pixels, size)


@pytest.mark.parametrize("name", REMEDIES)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_nothing_at_size_zero_and_more_with_more(name, seed):
    pixels = picture(seed)
    before = pixels.copy()
    np.testing.assert_allclose(treated(name, pixels, 0.0), pixels, atol=1e-6)
    results = [treated(name, pixels, size) for size in REMEDIES[name].sizes]
    changes = [np.abs(result - pixels).mean() for result in results]
    assert all(less < more for less, more in pairwise([0.0, *changes]))
    for result in results:
        assert result.dtype == np.float32
        assert result.shape == pixels.shape
        assert 0 <= result.min() <= result.max() <= 1
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("name", REMEDIES)
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_picture_of_one_colour_stays_finite(name, level):
    flat = np.full((40, 50, 3), level, np.float32)
    for size in REMEDIES[name].sizes:
        result = treated(name, flat, size)
        assert np.isfinite(result).all()
        assert np.ptp(result, axis=(0, 1)).max() < 1e-5


def test_a_third_of_a_stop_is_a_third_of_a_stop():
    dim = picture(1) * 0.6
    third = REMEDIES["brighter"].sizes[0]
    np.testing.assert_allclose(
        light(treated("brighter", dim, third)), light(dim) * 2 ** (1 / 3), rtol=2e-3
    )
    np.testing.assert_allclose(
        light(treated("darker", dim, third)), light(dim) / 2 ** (1 / 3), rtol=2e-3
    )


def test_middle_tones_move_between_black_and_white_that_stay():
    grey = np.linspace(0, 1, 5, dtype=np.float32)[None, :, None].repeat(3, axis=-1)
    lighter, darker = (
        treated(f"{name} middle tones", grey, 0.2)[0, :, 0] for name in ("lighter", "darker")
    )
    np.testing.assert_allclose(lighter[[0, 2, 4]], [0, 0.7, 1], atol=1e-6)
    np.testing.assert_allclose(darker[[0, 2, 4]], [0, 0.3, 1], atol=1e-6)
    np.testing.assert_allclose(lighter[1], 0.7**2, atol=1e-6)  # a power: of ½² that of ½, squared


def test_middle_tones_pulled_down_are_lifted_to_where_they_were():
    pixels = picture(7)
    dark = EDITS["dark"].apply(pixels, 0.4, np.random.default_rng(0))  # to the power 1.6
    share = 0.5 ** (1 / 1.6) - 0.5
    np.testing.assert_allclose(treated("lighter middle tones", dark, share), pixels, atol=1e-5)


def test_contrast_is_spread_and_the_mean_stays():
    pixels = picture(2)
    for name, factor in (("more contrast", 1.15), ("less contrast", 0.85)):
        result = treated(name, pixels, 0.15)
        np.testing.assert_allclose(result.std(), factor * pixels.std(), rtol=0.01)
        np.testing.assert_allclose(luma(result).mean(), luma(pixels).mean(), atol=1e-4)


def test_highlights_and_shadows_leave_the_other_end():
    grey = np.repeat(np.linspace(0.02, 0.98, 200, dtype=np.float32)[None, :, None], 3, axis=-1)
    level = grey[0, :, 0]
    for name, sign in (("brighter highlights", 1), ("darker highlights", -1)):
        change = treated(name, grey, 0.1)[0, :, 0] - level
        assert (sign * change >= 0).all()
        change = np.abs(change)
        assert change[level < 0.3].max() < 0.003 < 0.03 < change[np.abs(level - 0.8) < 0.1].min()
    for name, sign in (("lighter shadows", 1), ("deeper shadows", -1)):
        change = treated(name, grey, 0.1)[0, :, 0] - level
        assert (sign * change >= -1e-6).all()
        assert (
            np.abs(change[level > 0.7]).max()
            < 0.02
            < np.abs(change[np.abs(level - 0.25) < 0.1]).min()
        )
    assert (np.diff(treated("lighter shadows", grey, 0.2)[0, :, 0]) > -1e-6).all()


def test_colour_scales_about_luma():
    pixels = picture(3)
    for name, factor in (("more colour", 1.2), ("less colour", 0.8)):
        result = treated(name, pixels, 0.2)
        np.testing.assert_allclose(luma(result), luma(pixels), atol=2e-3)
        np.testing.assert_allclose(
            np.ptp(result, axis=-1).mean(), factor * np.ptp(pixels, axis=-1).mean(), rtol=0.01
        )


def test_warmer_and_cooler_undo_each_other_and_keep_the_light_of_white():
    pixels = picture(4) * 0.8
    warm = treated("warmer", pixels, 0.12)
    red_to_blue = (color.rgb2lab(warm) - color.rgb2lab(pixels))[..., 2]  # b*: yellow is positive
    assert red_to_blue.min() > 0
    np.testing.assert_allclose(treated("cooler", warm, 0.12), pixels, atol=5e-3)
    grey = np.full((4, 4, 3), 0.5, np.float32)
    np.testing.assert_allclose(light(treated("warmer", grey, 0.12)), light(grey), rtol=5e-3)


@pytest.mark.parametrize("seed", range(4))
def test_a_cast_over_a_grey_picture_is_removed(seed):
    grey = np.repeat(picture(seed)[..., :1], 3, axis=-1)
    cast = EDITS["cast"].apply(grey, 0.5, np.random.default_rng(seed))
    mended = treated("neutral", cast, 1.0)
    assert np.ptp(cast, axis=-1).mean() > 0.05
    assert np.ptp(mended, axis=-1).mean() < 0.1 * np.ptp(cast, axis=-1).mean()


def test_local_contrast_leaves_what_is_even_and_lifts_texture():
    random = np.random.default_rng(5)
    ramp = np.linspace(0.3, 0.7, 240)[None, :] * np.ones((160, 1))
    texture = ramp + random.normal(0, 0.02, ramp.shape)
    pixels = np.repeat(texture[..., None], 3, axis=-1).astype(np.float32)

    def rough(values: np.ndarray) -> float:
        return float((values - gaussian_filter(values, 8))[40:-40, 40:-40].std())

    own = rough(pixels[..., 1])
    assert rough(treated("more local contrast", pixels, 0.3)[..., 1]) == pytest.approx(
        1.3 * own, rel=0.05
    )
    assert rough(treated("less local contrast", pixels, 0.3)[..., 1]) == pytest.approx(
        0.7 * own, rel=0.05
    )


def test_noise_is_averaged_and_edges_stay():
    clean = np.full((80, 120, 3), 0.3, np.float32)
    clean[:, 60:] = 0.7
    noisy = clean + np.random.default_rng(6).normal(0, 0.015, clean.shape).astype(np.float32)
    smooth = treated("less noise", noisy, 0.04)
    assert np.abs(smooth - clean).mean() < 0.5 * np.abs(noisy - clean).mean()
    assert smooth[:, 60:62].mean() - smooth[:, 58:60].mean() > 0.35


@pytest.mark.parametrize("seed", range(4))
def test_a_veil_is_lifted(seed):
    random = np.random.default_rng(seed)
    clear = np.clip(2 * picture(seed, (180, 240)) - 0.5, 0, 1)
    clear[::9, ::9] = 0  # dark things everywhere, which the dark channel needs
    veiled = EDITS["haze"].apply(clear, 0.8, random)
    before, after = (np.abs(p - clear).mean() for p in (veiled, treated("less haze", veiled, 1.0)))
    assert after < 0.6 * before


def test_edits_are_said_in_words():
    said = {name: remedy.say(remedy.sizes[0]) for name, remedy in REMEDIES.items()}
    assert said["brighter"] == "brighter by a third of a stop"
    assert said["less contrast"] == "15 % less contrast"
    assert len(set(said.values())) == len(REMEDIES)
    assert REMEDIES["darker"].say(4 / 3) == "darker by 1.3 stops"
