"""The three public functions, against the functions they stand for."""

import numpy as np
import pytest
from PIL import Image

import qdnet_keras
from qdnet_keras.errors import ImageError, PresetError
from qdnet_keras.model.enhancement import Enhanced
from qdnet_keras.model.scoring import score_pixels


@pytest.fixture(scope="module")
def model(tiny_preset):
    return qdnet_keras.load(str(tiny_preset))


def test_public_names_are_those_promised():
    assert set(dir(qdnet_keras)) >= {"QDNet", "enhance", "load", "score"}
    with pytest.raises(AttributeError, match="no attribute 'rate'"):
        qdnet_keras.rate  # noqa: B018


def test_a_path_and_its_pixels_have_the_same_score(model, photo):
    path = photo("a.png")
    pixels = np.asarray(Image.open(path))
    from_path = qdnet_keras.score(path, model)
    assert from_path == qdnet_keras.score(pixels, model)
    assert from_path == score_pixels(model, pixels)
    assert 0 <= from_path.score <= 100
    assert from_path.score_std >= 0


def test_working_size_is_that_of_the_copy_scored(model, photo):
    large = np.asarray(Image.open(photo("a.png", size=(192, 128))))
    halves = large.reshape(64, 2, 96, 2, 3).astype(np.float64).mean(axis=(1, 3)) / 255
    expected = float(model(halves[None].astype(np.float32))["score"][0])
    assert qdnet_keras.score(large, model, long_side=96).score == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_enhance_keeps_the_picture_where_it_has_the_target_already(model, photo, dtype):
    pixels = np.asarray(Image.open(photo("a.png"))).astype(dtype)
    pixels = pixels * dtype(257 if dtype is np.uint16 else 1)
    own = qdnet_keras.score(pixels, model).score
    result = qdnet_keras.enhance(pixels, own, model)
    assert isinstance(result, Enhanced)
    assert result.reached
    assert result.pixels.dtype == dtype
    np.testing.assert_array_equal(result.pixels, pixels)


def test_enhance_hands_its_options_on(model, photo):
    path = photo("a.png")
    own = qdnet_keras.score(path, model).score
    away = own + 20 if own < 50 else own - 20
    assert qdnet_keras.enhance(path, away, model, tolerance=100.0).reached
    with pytest.raises(ValueError, match="sampler"):
        qdnet_keras.enhance(path, away, model, sampler="other")
    with pytest.raises(ValueError, match=r"0\.\.100"):
        qdnet_keras.enhance(path, float("nan"), model)


def test_wrong_input_is_told(model, tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        qdnet_keras.score(tmp_path / "none.png", model)
    with pytest.raises(PresetError, match="no preset"):
        qdnet_keras.load(str(tmp_path))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((64, 64, 3), np.float32),
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((64, 31, 3), np.uint8),
        np.zeros((1, 64, 64, 3), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_that_are_no_pictures_are_refused(model, array):
    with pytest.raises(ImageError, match="The array is"):
        qdnet_keras.score(array, model)
    with pytest.raises(ImageError, match="The array is"):
        qdnet_keras.enhance(array, 50, model)
