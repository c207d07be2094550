"""Operators against closed forms, slow references and what their papers promise."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import spearmanr

from qdnet_keras.synthesis.light import encode, expose, key, luminance, recolour
from qdnet_keras.synthesis.tone_mapping import FAULTS, OPERATORS, bilateral, gradient, photographic
from qdnet_keras.synthesis.tone_mapping.faults import overexposed, underexposed
from qdnet_keras.synthesis.tone_mapping.histogram import histogram_adjustment, limit_slope
from qdnet_keras.synthesis.tone_mapping.opencv import reproducible


def scene(seed: int = 0, stops: float = 10, size: tuple[int, int] = (96, 120)) -> np.ndarray:
    """Blocks of light over `stops`, with texture and colour, log-average 1."""
    random = np.random.default_rng(seed)
    blocks = random.uniform(-stops / 2, stops / 2, (4, 5))
    light = np.kron(blocks, np.ones((size[0] // 4, size[1] // 5)))
    light = light + random.normal(0, 0.2, light.shape)
    colour = np.kron(random.uniform(-0.5, 0.5, (4, 5, 3)), np.ones((size[0] // 4, size[1] // 5, 1)))
    rgb = (2.0 ** (light[..., None] + colour)).astype(np.float32)
    return rgb / key(rgb)


def linear(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("name", [*OPERATORS, *FAULTS])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), stops=st.floats(0.1, 20), scale=st.floats(0.001, 1000))
def test_every_operator_renders_any_scene(name, seed, stops, scale):
    """Finite values in range, the same for the same scene, unlike for dark and light parts."""
    rgb = np.clip(scene(seed, stops), 1e-3, 1e3)
    rgb[:8, :8] = 1e-3  # large parts at the limits, as black borders and lamps are
    rgb[8:16, :8] = 1e3
    render = OPERATORS[name] if name in OPERATORS else lambda x: FAULTS[name].render(x, 0.7)
    with reproducible():
        rendering = render(rgb)
        again = render(rgb.copy())
    assert rendering.shape == rgb.shape
    assert rendering.dtype == np.float32
    assert np.isfinite(rendering).all()
    assert rendering.min() >= -1e-6
    assert rendering.max() <= 1 + 1e-6
    np.testing.assert_array_equal(rendering, again)
    grey = luminance(rendering)
    assert grey[9:15, 1:7].mean() > grey[1:7, 1:7].mean()


@pytest.mark.parametrize("name", [name for name in OPERATORS if name not in ("surreal", "grunge2")])
def test_sound_operators_keep_the_order_of_light_and_fit_the_range(name):
    rgb = scene(3, stops=12)
    with reproducible():
        grey = luminance(OPERATORS[name](rgb))
    assert spearmanr(grey.ravel(), luminance(rgb).ravel())[0] > 0.8
    assert (grey > 0.999).mean() < 0.12
    assert np.percentile(grey, 90) - np.percentile(grey, 10) > 0.15


@pytest.mark.parametrize("name", OPERATORS)
def test_unit_of_the_radiance_hardly_matters(name):
    rgb = scene(5, stops=8)
    with reproducible():
        first, second = (OPERATORS[name](rgb * np.float32(unit)) for unit in (1, 4))
    assert np.abs(first - second).mean() < 0.02


def test_encoding_matches_the_standard():
    values = np.linspace(-0.2, 1.2, 60, dtype=np.float32)
    np.testing.assert_allclose(linear(encode(values)), np.clip(values, 0, 1), atol=1e-6)


def test_recolour_gives_the_luminance_asked_for():
    rgb = scene(1)
    mapped = np.full(rgb.shape[:2], 0.2, np.float32)
    np.testing.assert_allclose(luminance(linear(recolour(rgb, mapped, 1.0))), 0.2, atol=1e-4)
    grey = recolour(rgb, mapped, 0.0)
    np.testing.assert_allclose(grey, np.repeat(grey[..., :1], 3, axis=-1))


def test_photographic_operator_by_hand():
    rgb = np.array([[[1, 1, 1], [4, 4, 4], [16, 16, 16]]], np.float32)
    scaled = np.array([1, 4, 16]) * 0.3 / 4  # the log-average is 4
    white = np.percentile(scaled, 99)
    expected = np.clip(scaled * (1 + scaled / white**2) / (1 + scaled), 0, 1)
    got = linear(photographic.photographic(rgb)[0, :, 0])
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_local_operator_is_the_global_one_far_from_edges():
    """There the surround is the pixel itself, and eq. (9) becomes eq. (3), L / (1 + L)."""
    rgb = np.full((64, 240, 3), 2, np.float32)
    rgb[:, :120] = 0.25
    scaled = 0.18 * np.array([0.25, 2]) / key(rgb)
    dark, bright = linear(photographic.dodge_and_burn(rgb)[32, [5, 234], 0])
    expected = scaled / (1 + scaled)
    assert dark / bright == pytest.approx(expected[0] / expected[1], rel=1e-3)


def test_histogram_ceiling():
    counts = np.array([0, 1, 2, 60, 1000, 60, 2, 1, 0] * 4, float)
    width = 0.5
    limited = limit_slope(counts, width)
    assert (limited <= counts).all()
    slope = limited / limited.sum() * np.log(100) / width  # of the curve in log-log: contrast gain
    assert slope.max() <= 1.03  # the tolerance of the method
    assert limited.sum() > 0


def test_histogram_adjustment_leaves_a_scene_that_fits_the_display():
    """Less than 100:1 needs no compression: output is proportional to the input."""
    rgb = np.repeat(np.geomspace(1, 20, 64 * 64).reshape(64, 64, 1), 3, -1).astype(np.float32)
    np.testing.assert_allclose(linear(histogram_adjustment(rgb)), rgb / rgb.max(), rtol=1e-3)


def test_base_is_squeezed_and_never_stretched():
    rgb = scene(2, stops=16)
    squeezed = luminance(linear(bilateral.base_and_detail(rgb, contrast=8)))
    low, high = np.log2(np.percentile(squeezed, [2, 98]))
    assert 2.2 < high - low < 5  # 3 stops of base and some detail
    flat = np.repeat(np.geomspace(1, 2, 64 * 64).reshape(64, 64, 1), 3, -1).astype(np.float32)
    ratio = luminance(linear(bilateral.base_and_detail(flat, contrast=12))) / luminance(flat)
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=0.02)


@pytest.mark.parametrize("shape", [(12, 17), (32, 32), (33, 20)])
def test_poisson_recovers_a_picture_from_its_gradients(shape):
    picture = np.random.default_rng(0).normal(size=shape)
    right = np.diff(picture, axis=1, append=picture[:, -1:])
    down = np.diff(picture, axis=0, append=picture[-1:])
    solved = gradient.solve_poisson(right, down)
    np.testing.assert_allclose(solved, picture - picture.mean(), atol=1e-10)


def test_poisson_is_the_least_squares_solution():
    """Against a dense solver, for gradients that belong to no picture."""
    random = np.random.default_rng(1)
    rows, columns = 5, 6
    right, down = random.normal(size=(2, rows, columns))
    equations, values = [], []
    for y in range(rows):
        for x in range(columns):
            for dy, dx, field in ((0, 1, right), (1, 0, down)):
                if y + dy < rows and x + dx < columns:
                    row = np.zeros((rows, columns))
                    row[y + dy, x + dx], row[y, x] = 1, -1
                    equations.append(row.ravel())
                    values.append(field[y, x])
    expected = np.linalg.lstsq(np.array(equations), np.array(values), rcond=None)[0]
    expected = expected.reshape(rows, columns)
    solved = gradient.solve_poisson(right, down)
    np.testing.assert_allclose(solved, expected - expected.mean(), atol=1e-9)


def test_large_gradients_are_attenuated_more():
    log = np.zeros((128, 128))
    log[:, 64:] = 6.0
    log += np.random.default_rng(0).normal(0, 0.02, log.shape)
    factor = gradient.attenuate(log, 0.1, 0.85)
    assert factor[:, 62:66].mean() < 0.5 * factor[:, :40].mean()


@pytest.mark.parametrize("name", FAULTS)
def test_faults_grow_with_their_strength(name):
    rgb = scene(4, stops=6)
    render = FAULTS[name].render
    none, some, full = (render(rgb, strength) for strength in (0.0, 0.4, 1.0))
    sound = expose(rgb) if "exposed" in name else photographic.photographic(rgb)
    np.testing.assert_allclose(none, sound, atol=2e-3)
    assert np.abs(full - none).mean() > 1.3 * np.abs(some - none).mean() > 0.005


def test_exposure_faults_are_four_stops_at_full_strength():
    rgb = scene(6, stops=2)
    np.testing.assert_array_equal(underexposed(rgb, 1.0), expose(rgb, -4))
    np.testing.assert_array_equal(overexposed(rgb, 0.5), expose(rgb, 2))


def test_casts_keep_luminance():
    rgb = scene(7, stops=2)
    for name in ("fault_warm_cast", "fault_green_cast", "fault_blue_cast"):
        tinted = FAULTS[name].render(rgb, 0.5)
        sound = photographic.photographic(rgb)
        inside = (tinted.max(-1) < 0.99) & (sound.max(-1) < 0.99)
        difference = luminance(linear(tinted)) - luminance(linear(sound))
        assert np.abs(difference[inside]).max() < 0.02


def test_bundled_samples_are_what_the_operators_make(tmp_path):
    """The script writes the committed pictures, up to the last bits of another processor."""
    script = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "render_samples.py"))
    script["main"](tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(path.name for path in script["SAMPLES"].glob("*.jpg"))
    for name in names:
        made, kept = (
            np.asarray(Image.open(folder / name), int) for folder in (tmp_path, script["SAMPLES"])
        )
        assert np.abs(made - kept).mean() < 0.1, name
