"""The layer of published statistics against vectors made from the same pictures elsewhere."""

import csv
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from layer_contract import check_layer
from PIL import Image

import qdnet_keras
from qdnet_keras.model.layers import PublishedStatistics
from qdnet_keras.model.layers.published_statistics import COLUMNS, STATISTICS

SAMPLES = Path(qdnet_keras.__file__).parent / "samples"
REFERENCE = Path(__file__).parent / "data/features/published_statistics.csv"


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, "float32")


def described(picture):
    return dict(zip(COLUMNS, np.asarray(PublishedStatistics()(picture[None]))[0], strict=True))


@pytest.fixture(scope="module")
def any_size():
    shape = tf.TensorSpec([None, None, None, 3], tf.float32)
    return tf.function(PublishedStatistics(), input_signature=[shape], autograph=False)


def test_contract(tmp_path):
    def make(dtype):
        return PublishedStatistics(dtype="float32")

    check_layer(make, [noise(2, 36, 40, 3)], tmp_path, half_dtypes=["float32"])


def test_equals_the_reference_vectors(any_size):
    with REFERENCE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    for row in rows:
        pixels = np.asarray(Image.open(SAMPLES / row["file"]))
        found = any_size((pixels / np.float32(255))[None])[0]
        expected = [float(row[column]) for column in COLUMNS]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7, err_msg=row["file"])


def test_one_graph_for_all_sizes(any_size):
    for size in ((32, 32), (33, 65), (40, 121)):
        picture = noise(*size, 3)
        np.testing.assert_allclose(
            any_size(picture[None])[0], list(described(picture).values()), rtol=1e-5
        )
    assert any_size.experimental_get_tracing_count() == 1


def test_a_picture_does_not_depend_on_its_batch():
    pictures = noise(3, 48, 40, 3) * np.array([1.0, 0.6, 0.3], "float32")[:, None, None, None]
    together = PublishedStatistics()(pictures)
    for picture, row in zip(pictures, together, strict=True):
        np.testing.assert_allclose(list(described(picture).values()), row, rtol=1e-5, atol=1e-6)


def test_levels_and_highlights_by_hand():
    picture = np.full((40, 50, 3), 100 / 255, "float32")
    picture[:4, :, 0] = 1.0  # a tenth of red is burnt
    picture[4:6, :, 1] = 0.0
    found = described(picture)
    shares = np.array([0.1, 0.05, 3 - 0.15]) / 3
    assert found["s51"] == pytest.approx(-(shares * np.log2(shares)).sum(), rel=1e-5)
    levels = [1.0, 100 / 255, 100 / 255, 0.0, 1.0, 0.0]  # blue has one level
    np.testing.assert_allclose([found[f"s{k}"] for k in range(52, 58)], levels, rtol=1e-6)
    np.testing.assert_allclose([found[f"s{k}"] for k in range(65, 71)], [0.1] * 6, rtol=1e-6)
    assert found["s71"] == pytest.approx(0.1) and found["s72"] == pytest.approx(0.1)


def test_highest_parts_of_a_ramp():
    ramp = np.tile(np.arange(56, 256, dtype="float32") / 255, (32, 1))[..., None]
    found = described(np.repeat(ramp, 3, axis=2))
    parts = np.array([1, 25, 50, 75, 100, 125])
    expected = [sum(256 * k >= (256 - part) * 199 for k in range(200)) / 200 for part in parts]
    np.testing.assert_allclose([found[f"s{k}"] for k in range(65, 71)], expected, rtol=1e-6)


def test_rounds_to_8_bits():
    levels = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype("float32")
    nudged = levels + np.random.default_rng(1).uniform(-0.49, 0.49, levels.shape)
    exact, rounded = described(levels / 255), described((nudged / 255).astype("float32"))
    np.testing.assert_allclose(list(rounded.values()), list(exact.values()), rtol=1e-6)


def test_gradients_are_those_of_the_unrounded_formulas():
    thirds = np.random.default_rng(0).integers(0, 84, (33, 36, 3))
    levels = (3 * thirds + [1, 2, 3]) / 255  # no two channels alike: there hue has no gradient
    direction = np.random.default_rng(1).normal(size=levels.shape)

    def saturation_and_colourfulness(picture):
        saturation = 1 - picture.min(-1) / picture.max(-1)
        red, green, blue = np.moveaxis(255 * picture, -1, 0)
        opponents = np.stack([red - green, (red + green) / 2 - blue])
        std, mean = opponents.std((1, 2)), opponents.mean((1, 2))
        return [saturation.mean(), (np.hypot(*std) + 0.3 * np.hypot(*mean)) / 100]

    step = 1e-6
    ahead, behind = (saturation_and_colourfulness(levels + s * direction) for s in (step, -step))
    expected = (np.array(ahead) - behind) / (2 * step)
    picture = tf.constant(levels[None], tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(picture)
        values = PublishedStatistics()(picture)[0]
        chosen = [values[COLUMNS.index(column)] for column in ("s60", "s64")]
    found = [(tape.gradient(value, picture).numpy()[0] * direction).sum() for value in chosen]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_flat_pictures_and_their_gradients_are_finite(value):
    picture = tf.fill([1, 33, 35, 3], value)
    with tf.GradientTape() as tape:
        tape.watch(picture)
        statistics = PublishedStatistics()(picture)
        total = tf.reduce_sum(statistics)
    assert statistics.shape == (1, STATISTICS)
    assert np.isfinite(statistics).all()
    assert np.isfinite(tape.gradient(total, picture)).all()
