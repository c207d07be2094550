import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_contract import check_layer
from scipy import ndimage, stats
from toy_encoder import CHANNELS

from qdnet_keras.model.colour import add_change, chroma_lost
from qdnet_keras.model.decoder import GridDecoder, RGBDecoder, take_pixels
from qdnet_keras.model.layers import InstanceSplit
from qdnet_keras.model.layers.tone_grid import KNOTS
from qdnet_keras.model.tone import STRAIGHT, Tones, change_between

HEADS = pytest.mark.parametrize("head", [GridDecoder, RGBDecoder])
LATENT_DIM = 4
LUMINANCE = np.array([0.299, 0.587, 0.114])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def random_contents(rng, height, width, batch=1):
    """Normalised features of the sizes that an encoder has on a picture of this size."""
    contents = []
    for stage, channels in enumerate(CHANNELS):
        size = -(-height // 2**stage), -(-width // 2**stage)
        contents.append(rng.standard_normal((batch, *size, channels)).astype("float32"))
    return contents


def latent(rng, batch=1):
    return rng.standard_normal((batch, LATENT_DIM)).astype("float32")


def built(head, **options):
    """A decoder with random weights everywhere: a new `GridDecoder` shows all z alike."""
    decoder = head(width=16, **options)
    shapes = [(None, None, None, channels) for channels in CHANNELS]
    decoder.build(shapes, (None, LATENT_DIM))
    for weight in decoder.trainable_variables:
        weight.assign_add(keras.random.normal(weight.shape, stddev=0.1))
    return decoder


@HEADS
def test_contract(head, rng, tmp_path):
    def make(dtype):
        return head(width=16, dtype=dtype)

    arguments = [random_contents(rng, 33, 47, batch=2), latent(rng, 2)]
    check_layer(make, arguments, tmp_path, half_dtypes=["float32"])


@HEADS
@pytest.mark.parametrize("size", [(33, 47), (45, 64)])
def test_picture_has_the_size_of_the_content(head, size, rng):
    picture = built(head)(random_contents(rng, size[0], size[1], 2), latent(rng, 2))
    assert picture.shape == (2, *size, 3)
    assert picture.dtype == "float32"
    assert np.isfinite(picture).all()


@HEADS
def test_quality_changes_the_picture(head, rng):
    decoder, contents = built(head), random_contents(rng, 32, 48)
    first, second = decoder(contents, latent(rng)), decoder(contents, latent(rng))
    assert np.mean(abs(first - second)) > 0.01


@HEADS
def test_pictures_of_a_batch_do_not_mix(head, rng):
    decoder, contents, z = built(head), random_contents(rng, 33, 40, batch=2), latent(rng, 2)
    alone = decoder([content[1:] for content in contents], z[1:])
    np.testing.assert_allclose(decoder(contents, z)[1:], alone, atol=1e-4)


@HEADS
def test_pixels_are_a_slice_of_the_whole(head, rng):
    decoder, contents, z = built(head), random_contents(rng, 33, 47), latent(rng)
    whole = np.asarray(decoder(contents, z))
    rows, columns = np.arange(1, 33, 2), np.array([0, 5, 6, 46])
    some = decoder(contents, z, pixels=(rows, columns))
    np.testing.assert_allclose(some, whole[:, rows][:, :, columns], atol=1e-5)


@HEADS
def test_colours_of_the_picture_reach_the_rendering_through_z_alone(head, rng):
    """A gain and an offset of each colour leave the content, so also G(n, z), as it was."""
    decoder, split, z = built(head), InstanceSplit(), latent(rng)
    _, *deeper = random_contents(rng, 32, 48)
    picture = rng.random((1, 32, 48, 3), "float32")
    changed = picture * np.array([0.4, 0.7, 1.0], np.float32) + np.array(
        [0.3, 0.0, -0.1], np.float32
    )
    first, second = (decoder([split(p)[0], *deeper], z) for p in (picture, changed))
    np.testing.assert_allclose(first, second, atol=2e-3 * np.max(abs(first)))


def test_new_grid_decoder_draws_grey_levels_by_their_rank_and_no_colour_cast(rng):
    """Curves are straight: luminance is the share of darker content, if that is Gaussian."""
    contents = random_contents(rng, 33, 47)
    picture = np.asarray(GridDecoder(width=16)(contents, latent(rng)))
    light = contents[0] @ LUMINANCE
    np.testing.assert_allclose(picture @ LUMINANCE, stats.norm.cdf(light), atol=0.012)
    hue = chroma(contents[0]) / np.linalg.norm(chroma(contents[0]), axis=-1, keepdims=True)
    shown = chroma(picture) / np.linalg.norm(chroma(picture), axis=-1, keepdims=True)
    coloured = np.linalg.norm(chroma(contents[0]), axis=-1) > 0.1
    np.testing.assert_allclose(shown[coloured], hue[coloured], atol=1e-3)


@HEADS
def test_sizes_unknown_to_the_graph(head, rng):
    decoder, z = built(head), latent(rng)
    signature = [
        [tf.TensorSpec([None, None, None, channels]) for channels in CHANNELS],
        tf.TensorSpec([None, LATENT_DIM]),
    ]
    graph = tf.function(lambda contents, z: decoder(contents, z), input_signature=signature)
    for size in ((32, 40), (45, 33)):
        contents = random_contents(rng, *size)
        np.testing.assert_allclose(graph(contents, z), decoder(contents, z), atol=1e-4)


# === Change of quality ===


def rerendered(decoder, picture, contents, z, new_z):
    pixels = (np.arange(picture.shape[1]), np.arange(picture.shape[2]))
    change = decoder.change(contents, z, new_z)
    return np.asarray(decoder.rerender(picture, change, contents[0], pixels, picture.shape[1:3]))


@HEADS
@pytest.mark.parametrize("levels", [255, 65535])
def test_no_change_of_quality_is_no_change_at_all(head, levels, rng):
    """Even of nearly black and of burnt colours, in 8 and in 16 bits."""
    decoder, contents, z = built(head), random_contents(rng, 33, 47), latent(rng)
    stored = rng.integers(0, levels + 1, (1, 33, 47, 3))
    stored[:, :8] //= 64
    stored[:, 8:10] = rng.choice([0, 1, levels - 1, levels], (1, 2, 47, 3))
    picture = (stored / levels).astype("float32")
    same = rerendered(decoder, picture, contents, z, z)
    np.testing.assert_allclose(same, picture, atol=1e-6)
    np.testing.assert_array_equal(np.round(np.clip(same, 0, 1) * levels), stored)


def test_a_change_between_two_qualities_takes_curves_to_each_other():
    """What one quality drew at a luminance the other draws at that of its own curve."""
    rng = np.random.default_rng(3)

    def tones():
        steps = rng.uniform(0.2, 1, (1, 2, 3, KNOTS - 1))
        curve = np.cumsum(steps / steps.sum(-1, keepdims=True), axis=-1)
        curve = np.pad(curve, [[0, 0]] * 3 + [[1, 0]])
        saturation = rng.uniform(-0.1, 0.1, curve.shape)
        return Tones(*(v.astype("float32") for v in (curve, saturation, rng.normal(0, 1, (1, 3)))))

    old, new = tones(), tones()
    change = np.asarray(change_between(old, new))
    levels = np.linspace(0, 1, KNOTS)
    np.testing.assert_allclose(change[0, 0, 0, -3:], (new.tint - old.tint)[0], atol=1e-6)
    for y, x in np.ndindex(2, 3):
        u = np.interp(levels, old.curve[0, y, x], levels)
        light = (1 - STRAIGHT) * np.interp(u, levels, new.curve[0, y, x]) + STRAIGHT * levels
        np.testing.assert_allclose(change[0, y, x, : 2 * KNOTS : 2], light, atol=1e-5)
        gain = np.interp(u, levels, new.saturation[0, y, x] - old.saturation[0, y, x])
        np.testing.assert_allclose(change[0, y, x, 1 : 2 * KNOTS : 2], np.exp(gain), atol=5e-3)


def guided_filter(guide, target, window, epsilon):
    """He, Sun and Tang, eq. (5)-(8), one channel, means over the part of a window inside."""

    def mean(values):
        inside = ndimage.uniform_filter(np.ones_like(values), window, mode="constant")
        return ndimage.uniform_filter(values, window, mode="constant") / inside

    covariance = mean(guide * target) - mean(guide) * mean(target)
    slope = covariance / (mean(guide**2) - mean(guide) ** 2 + epsilon)
    offset = mean(target) - slope * mean(guide)
    return mean(slope) * guide + mean(offset)


def test_change_of_the_rgb_head_is_the_guided_filter_of_the_difference(rng):
    decoder, contents = built(RGBDecoder), random_contents(rng, 33, 47)
    z, new_z = latent(rng), latent(rng)
    difference = np.asarray(decoder(contents, new_z) - decoder(contents, z), "float64")
    pixels = (np.arange(33), np.arange(47))
    grid, guide = decoder.change(contents, z, new_z), np.zeros((1, 33, 47), "float32")
    change = np.asarray(decoder.bilateral(grid, guide, contents[0], pixels=pixels, size=(33, 47)))
    for channel in range(3):
        expected = guided_filter(
            contents[0][0, ..., channel].astype("float64"),
            difference[0, ..., channel],
            RGBDecoder.WINDOW,
            RGBDecoder.EPSILON,
        )
        np.testing.assert_allclose(change[0, ..., channel], expected, atol=1e-3)


def test_take_pixels():
    picture = np.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3)
    taken = take_pixels(picture, (np.array([3, 0]), np.array([1])))
    np.testing.assert_array_equal(taken, picture[:, [3, 0]][:, :, [1]])


def test_grey_stays_grey_whatever_the_change(rng):
    grey = rng.random((1, 4, 5, 1)).astype("float32").repeat(3, axis=-1)
    change = rng.normal(0, 0.3, (1, 4, 5, 3)).astype("float32")
    changed = np.asarray(add_change(grey, change))
    np.testing.assert_allclose(changed, changed[..., :1].repeat(3, axis=-1), atol=1e-6)
    np.testing.assert_array_equal(np.sign(changed - grey)[..., 0], np.sign(change @ LUMINANCE))


def test_no_change_leaves_every_pixel_exactly(rng):
    picture = rng.random((1, 20, 30, 3), "float32")
    np.testing.assert_array_equal(add_change(picture, np.zeros_like(picture)), picture)


def chroma(colours):
    return colours - colours @ LUMINANCE[:, None]


def test_change_along_the_hue_is_taken_as_it_is(rng):
    picture = rng.uniform(0.35, 0.65, (1, 20, 30, 3))
    along = rng.uniform(-0.5, 0.5, (1, 20, 30, 1)) * chroma(picture)
    change = along + rng.uniform(-0.05, 0.05, (1, 20, 30, 1))
    coloured = np.linalg.norm(chroma(picture), axis=-1) > 0.08
    added = np.asarray(add_change(picture.astype("float32"), change.astype("float32")))
    np.testing.assert_allclose(added[coloured], (picture + change)[coloured], atol=2e-3)


def test_hue_and_luminance_whatever_the_change(rng):
    """Grey value as asked for; chroma near the ray from none to three times what it was."""
    picture = rng.uniform(0.35, 0.65, (1, 40, 50, 3))
    change = rng.normal(0, 0.05, (1, 40, 50, 3))
    added = np.asarray(add_change(picture.astype("float32"), change.astype("float32")), "float64")
    np.testing.assert_allclose(added @ LUMINANCE, (picture + change) @ LUMINANCE, atol=5e-3)

    before, after = chroma(picture), chroma(added)
    length = np.linalg.norm(before, axis=-1)
    direction = before / length[..., None]
    along = np.clip((after * direction).sum(-1), 0, 3 * length)
    off = np.linalg.norm(after - along[..., None] * direction, axis=-1)
    assert (off <= 0.2 * length + 5e-3).all()
    asked = np.linalg.norm(chroma(picture + change) - before, axis=-1)
    assert (asked > 0.5 * length).mean() > 0.2, "changes large enough to be held back"


def test_colour_cast_can_be_removed():
    blue = np.array([[[[0.30, 0.35, 0.60], [0.10, 0.12, 0.25]]]], "float32")
    added = np.asarray(add_change(blue, (-chroma(blue)).astype("float32")))
    np.testing.assert_allclose(added, (blue @ LUMINANCE)[..., None].repeat(3, -1), atol=3e-3)


def lost(before, after):
    shares = chroma_lost(before.astype("float32")[None], after.astype("float32")[None])
    return float(shares[0])


def test_a_darker_picture_may_have_less_chroma(rng):
    picture = rng.uniform(0.3, 0.7, (20, 30, 3))
    assert lost(picture, 0.5 * picture) < 0.1 < lost(picture, 0.5 * picture - 0.3 * chroma(picture))


@pytest.mark.parametrize(("kept", "share"), [(1.3, 0.0), (1.0, 0.0), (0.6, 0.4), (0.0, 1.0)])
def test_chroma_lost_is_the_share_taken(rng, kept, share):
    picture = rng.uniform(0.3, 0.7, (20, 30, 3))
    changed = picture + (kept - 1.0) * chroma(picture) + 0.1
    assert lost(picture, changed) == pytest.approx(share, abs=1e-5)


def test_a_colour_turned_to_another_hue_is_lost():
    blue, orange = np.full((8, 8, 3), [0.3, 0.4, 0.7]), np.full((8, 8, 3), [0.7, 0.5, 0.2])
    assert lost(blue, orange) == 1.0


def test_grey_pixels_do_not_count_nor_does_what_others_gain():
    """A blue sky above a grey road and a red wall: the sky turns grey, the wall redder."""
    sky, road, wall = [0.3, 0.4, 0.7], [0.5, 0.5, 0.5], [0.6, 0.3, 0.3]
    picture = np.repeat([sky, sky, road, road, road, wall], 6, axis=0)[:, None].repeat(8, axis=1)
    changed = picture.copy()
    changed[:12], changed[30:] = 0.4, [0.8, 0.2, 0.2]
    assert lost(picture, changed) == pytest.approx(2 / 3)


def test_a_picture_without_colours_loses_none(rng):
    grey = rng.random((20, 30, 1)).repeat(3, axis=-1)
    assert lost(grey, 0.5 * grey) == 0.0


def test_nothing_new_is_burnt_or_black_and_the_order_is_kept():
    ramp = np.linspace(0, 1, 257, dtype="float32")[None, :, None, None].repeat(3, axis=-1)
    for amount in (-2.0, -0.3, -0.01, 0.01, 0.3, 2.0):
        changed = np.asarray(add_change(ramp, np.full_like(ramp, amount)))[0, :, 0, 0]
        levels = np.round(255 * changed)
        inside = (ramp[0, :, 0, 0] > 3.6 / 255) & (ramp[0, :, 0, 0] < 251.4 / 255)
        assert levels[inside].min() > 2 and levels[inside].max() < 253
        assert (np.diff(changed) >= -1e-6).all()
        assert (np.sign(changed - ramp[0, :, 0, 0]) == np.sign(amount)).all()
    small = np.asarray(add_change(ramp, np.full_like(ramp, 0.05)))[0, :, 0, 0]
    np.testing.assert_allclose(small[:200], ramp[0, :200, 0, 0] + 0.05, atol=0.002)
