import numpy as np
import pytest
import tensorflow as tf
from layer_contract import check_layer
from scipy import ndimage, stats

from qdnet_keras.model.layers import NaturalStatistics
from qdnet_keras.model.layers.natural_statistics import STATISTICS

LEVELS = 3
WINDOW = {"sigma": 7 / 6, "radius": 3, "mode": "reflect", "axes": (0, 1)}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def smooth_picture(rng, height, width):
    coarse = ndimage.gaussian_filter(rng.random((height, width, 3)), 2, axes=(0, 1))
    return ((coarse - coarse.min()) / np.ptp(coarse)).astype("float32")


def describe(picture):
    return np.asarray(NaturalStatistics()(picture[None]))[0]


def reference(picture):
    """The same numbers from SciPy, in double precision, map by map."""
    picture = picture.astype("float64")
    red, green, blue = np.moveaxis(picture, -1, 0)
    level = np.stack(
        [0.299 * red + 0.587 * green + 0.114 * blue, red - green, (red + green) / 2 - blue], -1
    )
    found = [moments(level), moments(halved(level, 16))]
    saturation = picture.max(-1) - picture.min(-1)
    found += [histogram(level[..., 0], 12), histogram(saturation, 8)]
    for number in range(LEVELS):
        level = halved(level, 2) if number else level
        normalised, contrast = mscn(level)
        padded = np.pad(level, [(1, 1), (1, 1), (0, 0)], mode="symmetric")
        down = ndimage.correlate1d(padded, [-1, 0, 1], axis=0)[1:-1, 1:-1]
        across = ndimage.correlate1d(padded, [-1, 0, 1], axis=1)[1:-1, 1:-1]
        gradient = np.sqrt(down**2 + across**2 + 1e-6)
        found += [moments(np.log(contrast + 2 / 255)), moments(normalised)]
        found += [moments(np.log(gradient + 2 / 255)), moments(mscn(gradient)[0])]
    for distance in (picture - 0.98, 0.02 - picture):
        found.append(np.log((1 / (1 + np.exp(-200 * distance))).mean((0, 1)) + 1e-3))
    return np.concatenate(found)


def moments(values):
    flat = values.reshape(-1, 3)
    std = np.sqrt(flat.var(0) + 1e-6)
    absolute = np.abs(flat - flat.mean(0)).mean(0)
    third = stats.moment(flat, 3, axis=0)
    return np.concatenate([flat.mean(0), np.log(std), absolute / std, third / std**3])


def mscn(values):
    mean = ndimage.gaussian_filter(values, **WINDOW)
    variance = ndimage.gaussian_filter(values**2, **WINDOW) - mean**2
    contrast = np.sqrt(np.maximum(variance, 0) + 1e-6)
    return (values - mean) / (contrast + 4 / 255), contrast


def halved(values, cell):
    """Means over cells, for sides that are multiples of `cell`."""
    height, width, _ = values.shape
    return values.reshape(height // cell, cell, width // cell, cell, 3).mean((1, 3))


def histogram(values, bins):
    """Each value shared between the two nearest bin centres by linear interpolation."""
    position = values.ravel() * bins - 0.5
    counts = np.zeros(bins + 2)
    below = np.floor(position).astype(int)
    np.add.at(counts, below + 1, below + 1 - position)
    np.add.at(counts, below + 2, position - below)
    return counts[1:-1] / values.size


def test_contract(rng, tmp_path):
    def make(dtype):
        return NaturalStatistics(dtype="float32")

    pictures = np.stack([smooth_picture(rng, 40, 36) for _ in range(2)])
    check_layer(make, [pictures], tmp_path, half_dtypes=["float32"])


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (160, 128)])
def test_equals_scipy_in_double_precision(rng, size):
    picture = smooth_picture(rng, *size)
    picture[:9, :7] = 1.0
    picture[-6:, -8:] = 0.0
    found = describe(picture)
    assert found.shape == (STATISTICS,)
    np.testing.assert_allclose(found, reference(picture), rtol=2e-3, atol=2e-3)


def test_a_mirrored_picture_has_the_same_statistics(rng):
    picture = smooth_picture(rng, 64, 64)
    for mirrored in (picture[:, ::-1], picture[::-1], picture.transpose(1, 0, 2)):
        np.testing.assert_allclose(describe(mirrored), describe(picture), rtol=1e-3, atol=1e-4)


def test_a_picture_does_not_depend_on_its_batch(rng):
    pictures = np.stack([smooth_picture(rng, 48, 40) for _ in range(3)])
    together = NaturalStatistics()(pictures)
    for picture, row in zip(pictures, together, strict=True):
        np.testing.assert_allclose(describe(picture), row, rtol=1e-5, atol=1e-5)


def test_shares_of_burnt_and_black_pixels():
    picture = np.full((40, 40, 3), 0.5, "float32")
    picture[:10] = 1.0  # a quarter burnt
    picture[-4:, :, 2] = 0.0  # a tenth without blue
    shares = np.exp(describe(picture)[-6:]) - 1e-3
    edge = 1 / (1 + np.exp(-4))  # of the soft threshold, at 1 and at 0
    np.testing.assert_allclose(shares[:3], 0.25 * edge, rtol=1e-3)
    np.testing.assert_allclose(shares[3:], [0, 0, 0.1 * edge], atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_flat_pictures_and_their_gradients_are_finite(value):
    picture = tf.fill([1, 33, 35, 3], value)
    with tf.GradientTape() as tape:
        tape.watch(picture)
        statistics = NaturalStatistics()(picture)
        total = tf.reduce_sum(statistics)
    assert np.isfinite(statistics).all()
    assert np.isfinite(tape.gradient(total, picture)).all()
