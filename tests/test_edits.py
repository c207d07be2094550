"""Deliberate edits: nothing at strength 0, more with more strength, in range, repeatable."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage import color

from qdnet_keras.synthesis.edits import (
    EDITS,
    MIN_STRENGTH,
    Drawn,
    apply_edits,
    draw_edits,
    haze,
    under,
)


def picture(seed: int = 0, shape: tuple[int, int] = (90, 120)) -> np.ndarray:
    """Smooth areas of many colours with fine texture, black to white."""
    random = np.random.default_rng(seed)
    areas = gaussian_filter(random.normal(size=(*shape, 3)), (8, 8, 0))
    areas = areas / areas.std() * 0.25 + random.normal(0, 0.02, (*shape, 1)) + 0.45
    return np.clip(areas, 0, 1).astype(np.float32)


def edited(name: str, pixels: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    return EDITS[name].apply(pixels, strength, np.random.default_rng(seed))


@pytest.mark.parametrize("name", EDITS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_strength_zero_changes_nothing(name, seed):
    pixels = picture(seed)
    np.testing.assert_allclose(edited(name, pixels, 0.0, seed), pixels, atol=1e-6)


@pytest.mark.parametrize("name", EDITS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_more_strength_changes_more(name, seed):
    pixels = picture(seed)
    distances = [
        np.abs(edited(name, pixels, strength, seed) - pixels).mean()
        for strength in np.linspace(0, 1, 6)
    ]
    assert all(more > less for less, more in pairwise(distances))
    assert distances[-1] > 0.01


@pytest.mark.parametrize("name", EDITS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), strength=st.floats(0, 1))
def test_range_type_and_repetition(name, seed, strength):
    pixels = picture(seed, (40, 33))
    pixels[:5, :5], pixels[:5, 5:10] = 0, 1
    before = pixels.copy()
    result = edited(name, pixels, strength, seed)
    assert result.dtype == np.float32
    assert result.shape == pixels.shape
    assert result.min() >= 0
    assert result.max() <= 1
    np.testing.assert_array_equal(result, edited(name, pixels, strength, seed))
    np.testing.assert_array_equal(pixels, before)


def light(pixels: np.ndarray) -> np.ndarray:
    """Linear light by scikit-image: CIE Y, the conversion of another library."""
    return color.rgb2xyz(pixels.astype(np.float64))[..., 1]


def test_exposures_halve_and_double_the_light():
    dim = picture(1) * 0.4
    np.testing.assert_allclose(light(edited("under", dim, 1 / 3)), light(dim) / 2, rtol=2e-3)
    np.testing.assert_allclose(light(edited("over", dim, 1 / 2)), light(dim) * 2, rtol=2e-3)


def test_grey_keeps_luma_and_takes_chroma():
    pixels = picture(2)
    faint = edited("grey", pixels, 1.0)
    weights = [0.2126, 0.7152, 0.0722]
    np.testing.assert_allclose(faint @ weights, pixels @ weights, atol=1e-5)
    assert np.ptp(faint, axis=-1).max() < 0.06
    inside = 0.5 + 0.2 * (pixels - 0.5)  # where nothing clips
    np.testing.assert_allclose(
        np.ptp(edited("garish", inside, 1.0), axis=-1), 3 * np.ptp(inside, axis=-1), atol=1e-5
    )


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_a_cast_tints_white_and_keeps_its_luminance(seed):
    white = np.full((2, 2, 3), 0.5, np.float32)
    tinted = edited("cast", white, 1.0, seed)
    np.testing.assert_allclose(light(tinted), light(white), rtol=1e-2)
    assert np.ptp(tinted[0, 0]) > 0.1


def test_casts_are_of_all_hues():
    white = np.full((1, 1, 3), 0.5, np.float32)
    strongest = {int(edited("cast", white, 1.0, seed).argmax()) for seed in range(40)}
    weakest = {int(edited("cast", white, 1.0, seed).argmin()) for seed in range(40)}
    assert strongest == weakest == {0, 1, 2}


def test_contrast_goes_the_way_that_the_name_says():
    pixels = picture(3)
    assert edited("harsh", pixels, 0.7).std() > 1.1 * pixels.std()
    for name in ("flat", "haze", "lifted", "dull"):
        assert edited(name, pixels, 0.7).std() < 0.9 * pixels.std(), name
    for name in ("under", "dark", "crushed"):
        assert edited(name, pixels, 0.7).mean() < pixels.mean() - 0.05, name
    for name in ("over", "pale", "lifted", "clipped"):
        assert edited(name, pixels, 0.7).mean() > pixels.mean() + 0.05, name


@pytest.mark.parametrize("seed", range(5))
def test_a_halo_overshoots_on_both_sides_of_an_edge(seed):
    edge = np.full((100, 200, 3), 0.4, np.float32)
    edge[:, 100:] = 0.6
    row = edited("halo", edge, 1.0, seed)[50, :, 1]
    assert row[99] < 0.3 < 0.7 < row[100]
    np.testing.assert_allclose(row[[0, -1]], [0.4, 0.6], atol=1e-3)
    assert (np.diff(row[:100]) <= 1e-6).all()


def test_shadow_and_light_edits_leave_the_other_end():
    pixels = picture(4)
    lights, shadows = pixels > 0.7, pixels < 0.3
    for name in ("clipped", "dull"):
        np.testing.assert_array_equal(edited(name, pixels, 1.0)[shadows], pixels[shadows])
    assert (edited("clipped", pixels, 1.0)[pixels > 0.8] == 1).all()
    assert (edited("crushed", pixels, 1.0)[shadows] == 0).all()
    change = np.abs(edited("lifted", pixels, 1.0) - pixels)
    assert change[lights].max() < 0.04 < 0.19 < change[shadows].min()


@given(seed=st.integers(0, 10**6), most=st.integers(1, 3))
def test_drawn_edits_are_of_different_aspects(seed, most):
    drawn = draw_edits(np.random.default_rng(seed), most=most)
    assert 1 <= len(drawn) <= most
    assert len({EDITS[name].aspect for name, _ in drawn}) == len(drawn)
    assert all(MIN_STRENGTH <= strength <= 1 for _, strength in drawn)
    assert drawn == draw_edits(np.random.default_rng(seed), most=most)


def test_draws_cover_all_and_keep_to_names():
    random = np.random.default_rng(0)
    draws = [draw_edits(random) for _ in range(2000)]
    assert {name for drawn in draws for name, _ in drawn} == set(EDITS)
    assert 0.45 < np.mean([len(drawn) == 2 for drawn in draws]) < 0.55
    few = [draw_edits(random, ["dark", "under"]) for _ in range(50)]
    assert {name for drawn in few for name, _ in drawn} == {"dark", "under"}
    assert {len(drawn) for drawn in few} == {1}  # one aspect


def test_edits_are_applied_in_order():
    pixels = picture(5)
    both = [Drawn("haze", 0.5), Drawn("under", 0.4)]
    random = np.random.default_rng(7)
    expected = under(haze(pixels, 0.5, random), 0.4, random)
    np.testing.assert_array_equal(apply_edits(pixels, both, np.random.default_rng(7)), expected)
    assert apply_edits(pixels, [], random) is pixels
