"""Promises of local tone curves, for curves and pictures of any kind."""

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_contract import check_layer

from qdnet_keras.model.layers import ToneGrid
from qdnet_keras.model.layers.bilateral_grid import grid_position
from qdnet_keras.model.layers.tone_grid import BRIGHTEST, DARKEST, KNOTS, TONE_CHANNELS
from qdnet_keras.model.tone_pixels import change_tones

LUMINANCE = np.array([0.299, 0.587, 0.114])
WHOLE = (23, 31)
ANY = settings(max_examples=25, deadline=None)
SEEDS = given(seed=st.integers(0, 2**32 - 1), steepness=st.floats(0, 8))


def random_grid(rng, steepness, cells=(3, 4), tint=0.0):
    """Curves from nearly straight (steepness 0) to nearly steps, gains of saturation of e^±1."""
    steps = np.exp(steepness * rng.uniform(-1, 0, (1, *cells, KNOTS - 1))) + 2e-3
    light = np.cumsum(steps / steps.sum(-1, keepdims=True), axis=-1)
    light = np.pad(light, [[0, 0]] * 3 + [[1, 0]]).clip(0, 1)
    curves = np.stack([light, np.exp(rng.uniform(-1, 1, light.shape))], axis=-1)
    colour = tint * rng.uniform(-1, 1, 3)
    colour = np.broadcast_to(colour - colour @ LUMINANCE, (1, *cells, 3))
    grid = np.concatenate([curves.reshape(1, *cells, 2 * KNOTS), colour], axis=-1)
    return grid.astype("float32")


def random_picture(rng, size=WHOLE):
    """Levels of 8 bits: all kinds, and more black, burnt and grey ones than chance would give."""
    levels = rng.integers(0, 256, (1, *size, 3))
    levels[:, ::4] = rng.choice([0, 1, 2, 253, 254, 255], levels[:, ::4].shape)
    levels[:, 1::4] = levels[:, 1::4, :, :1]
    return (levels / 255).astype("float32")


def render(grid, picture, origin=(0, 0), size=None):
    rows, columns = picture.shape[1:3]
    pixels = (origin[0] + np.arange(rows), origin[1] + np.arange(columns))
    return np.asarray(ToneGrid()(grid, picture, pixels=pixels, size=size or (rows, columns)))


def curves_at(grid, y, x, size=WHOLE):
    """The curve and gain at a pixel, interpolated between cells by hand."""
    (_, cells_y, cells_x, _), values = grid.shape, grid[0].astype("float64")
    row = float(grid_position(np.array([y]), size[0], cells_y)[0])
    column = float(grid_position(np.array([x]), size[1], cells_x)[0])
    values = values[..., : 2 * KNOTS].reshape(cells_y, cells_x, KNOTS, 2)
    mixed = np.zeros((KNOTS, 2))
    for i, j in np.ndindex(cells_y, cells_x):
        mixed += max(0, 1 - abs(row - i)) * max(0, 1 - abs(column - j)) * values[i, j]
    return mixed[:, 0], mixed[:, 1]


def test_contract(tmp_path):
    def make(dtype):
        return ToneGrid(dtype="float32")

    rng = np.random.default_rng(0)
    arguments = [np.tile(random_grid(rng, 1.0), (2, 1, 1, 1)), rng.random((2, 6, 5, 3), "float32")]
    pixels = (list(range(6)), list(range(5)))
    check_layer(make, arguments, tmp_path, half_dtypes=["float32"], pixels=pixels, size=(6, 5))


@SEEDS
@ANY
def test_luminance_goes_by_the_curve_of_its_place(seed, steepness):
    rng = np.random.default_rng(seed)
    grid, picture = random_grid(rng, steepness, tint=0.3), random_picture(rng)
    changed = render(grid, picture)
    old, new = picture[0] @ LUMINANCE, changed[0] @ LUMINANCE
    for y, x in rng.integers(0, WHOLE, (20, 2)):
        light, _ = curves_at(grid, y, x)
        expected = np.interp(old[y, x], np.linspace(0, 1, KNOTS), light)
        assert new[y, x] == pytest.approx(expected, abs=5e-6)


@SEEDS
@ANY
def test_order_of_luminance_is_kept_strictly_at_each_place(seed, steepness):
    """Of two colours at one place the darker one stays darker, whatever their hues."""
    rng = np.random.default_rng(seed)
    grid, size = random_grid(rng, steepness, tint=0.3), (5, 7)
    stack = np.concatenate([random_picture(rng, size) for _ in range(12)])
    changed = np.concatenate([render(grid, picture[None]) for picture in stack])
    old, new = stack @ LUMINANCE, changed @ LUMINANCE
    order = np.argsort(old, axis=0)
    old, new = (np.take_along_axis(values, order, axis=0) for values in (old, new))
    apart = np.diff(old, axis=0) > 0.5 / 255
    assert apart.mean() > 0.5
    assert (np.diff(new, axis=0)[apart] > 0).all()


@SEEDS
@ANY
def test_hue_is_kept_without_a_tint(seed, steepness):
    """That of HSV, of the sRGB-encoded colour: chroma is only scaled, and grey stays grey."""
    rng = np.random.default_rng(seed)
    picture = random_picture(rng)
    changed = render(random_grid(rng, steepness), picture).astype("float64")
    compared = 0
    for old, new in zip(picture.reshape(-1, 3), changed.reshape(-1, 3), strict=True):
        if np.ptp(old) == 0:
            assert np.ptp(new) < 1e-6
        elif np.ptp(new) > 0.02:
            turned = colorsys.rgb_to_hsv(*new)[0] - colorsys.rgb_to_hsv(*old)[0]
            assert abs((turned + 0.5) % 1 - 0.5) < 1e-4
            compared += 1
    assert compared > 20


@SEEDS
@ANY
def test_nothing_is_newly_clipped_and_values_stay_in_range(seed, steepness):
    """A channel leaves `DARKEST`..`BRIGHTEST` no farther than its pixel did before or grey has to.

    Grey follows its curve, which is strictly inside 0..1 wherever the old luminance is.
    """
    rng = np.random.default_rng(seed)
    picture = random_picture(rng)
    changed = render(random_grid(rng, steepness, tint=0.5), picture)
    assert changed.min() >= 0 and changed.max() <= 1
    light = (changed @ LUMINANCE)[..., None]
    highest = np.maximum(picture.max(-1, keepdims=True), light).clip(BRIGHTEST, None)
    lowest = np.minimum(picture.min(-1, keepdims=True), light).clip(None, DARKEST)
    assert (changed <= highest + 3e-6).all() and (changed >= lowest - 3e-6).all()
    old = picture @ LUMINANCE
    inside = (old > 0.5 / 255) & (old < 254.5 / 255)
    assert (light[inside] > 0).all() and (light[inside] < 1).all()


@pytest.mark.parametrize("levels", [255, 65535])
@SEEDS
@ANY
def test_straight_curves_leave_every_pixel(levels, seed, steepness):
    rng = np.random.default_rng(seed)
    stored = np.round(random_picture(rng) * levels * np.exp(-steepness * rng.random(3)))
    picture = (stored / levels).astype("float32")
    curves = np.stack([np.linspace(0, 1, KNOTS), np.ones(KNOTS)], axis=-1).reshape(-1)
    grid = np.broadcast_to([*curves, 0, 0, 0], (1, 3, 4, TONE_CHANNELS)).astype("float32")
    same = render(grid, picture)
    np.testing.assert_allclose(same, picture, atol=1e-6)
    np.testing.assert_array_equal(np.round(same.clip(0, 1) * levels), stored)


@SEEDS
@ANY
def test_tiles_are_those_of_the_whole(seed, steepness):
    rng = np.random.default_rng(seed)
    grid, picture = random_grid(rng, steepness, tint=0.3), random_picture(rng)
    whole = render(grid, picture)
    (top, bottom), (left, right) = (np.sort(rng.choice(n + 1, 2, replace=False)) for n in WHOLE)
    tile = render(grid, picture[:, top:bottom, left:right], (top, left), WHOLE)
    np.testing.assert_allclose(tile, whole[:, top:bottom, left:right], atol=2e-6)


def test_a_tint_shifts_white_and_leaves_black():
    grid = random_grid(np.random.default_rng(0), 0.0, tint=0.2)
    tint = grid[0, 0, 0, -3:]
    for level in (0.0, 0.3, 0.6):
        changed = render(grid, np.full((1, *WHOLE, 3), level, "float32"))
        light = (changed @ LUMINANCE)[..., None]
        np.testing.assert_allclose(changed, light * (1 + tint), atol=1e-5)


@ANY
@SEEDS
def test_compiled_pixels_are_those_of_the_graph(seed, steepness):
    """Whole pictures and tiles, 8 and 16 bits: each level is the graph's or the one beside it."""
    rng = np.random.default_rng(seed)
    grid, picture = random_grid(rng, steepness, tint=0.2), random_picture(rng)
    for top, dtype in ((255, np.uint8), (65535, np.uint16)):
        levels = np.rint(top * picture[0]).astype(dtype)
        expected = np.rint(top * render(grid, (levels / np.float32(top))[None])[0])
        whole = change_tones(levels, grid[0], (0, 0), WHOLE)
        assert whole.dtype == dtype
        assert np.abs(whole - expected).max() <= 1
        assert (whole != expected).mean() < 0.01
        tile = change_tones(levels[5:17, 9:], grid[0], (5, 9), WHOLE)
        np.testing.assert_array_equal(tile, whole[5:17, 9:])
