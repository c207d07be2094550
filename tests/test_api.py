"""The public functions, against the functions they stand for."""

import io
import subprocess
import sys

import keras
import numpy as np
import pytest
import tifffile
from PIL import Image
from toy_encoder import toy_encoder

import qdnet_keras
from qdnet_keras.errors import ImageError, OutputError, PresetError
from qdnet_keras.model.enhancement import Enhanced
from qdnet_keras.model.scoring import score_pixels


@pytest.fixture(scope="module")
def model(tiny_preset):
    return qdnet_keras.load(str(tiny_preset))


def test_public_names_are_those_promised():
    """Each can be imported, and there is no other."""
    expected = {
        *("QDNet", "Client", "AsyncClient", "Score", "Enhanced", "load", "score", "enhance"),
        *("Explanation", "Effect", "Trial", "explain"),
        *("Recipe", "Rendering", "apply"),
        *("Tonemapped", "Candidate", "tonemap"),
        *("QDNetError", "ImageError", "DataError", "ConfigError", "PresetError"),
        *("OutputError", "ServerError", "ServerUnreachableError", "MissingPackageError"),
    }
    assert set(qdnet_keras.__all__) == expected
    assert {getattr(qdnet_keras, name).__name__ for name in expected} == expected
    errors = {name for name, kind in vars(qdnet_keras.errors).items() if isinstance(kind, type)}
    assert errors <= expected
    with pytest.raises(AttributeError, match="attribute rate"):
        qdnet_keras.rate  # noqa: B018


def test_importing_the_package_is_light():
    """And so is looking for a preset, which commands do before they import TensorFlow."""
    script = """if True:
        import sys, qdnet_keras
        assert not {"tensorflow", "numpy"} & sys.modules.keys()
        from qdnet_keras.model.presets import preset_folder, read_preset_config
        assert not {"tensorflow", "keras"} & sys.modules.keys()
    """
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_path_and_its_pixels_have_the_same_score(model, photo):
    path = photo("a.png")
    pixels = np.asarray(Image.open(path))
    from_path = qdnet_keras.score(path, model)
    assert from_path == qdnet_keras.score(pixels, model)
    assert from_path == score_pixels(model, pixels)
    assert 0 <= from_path.score <= 100
    assert 0 <= from_path.mos <= 100
    assert from_path.mos_std >= 0


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


def test_the_papers_head_enhances_by_the_papers_sampler(photo):
    """Nearer to the target than the picture was, and as the result says."""
    keras.utils.set_random_seed(0)
    model = qdnet_keras.QDNet(
        toy_encoder(), head="rgb", latent_dim=4, posterior_units=8, decoder_width=16
    )
    model.build()
    for weight in (*model.decoder.trainable_variables, *model.scorer.trainable_variables):
        weight.assign_add(keras.random.normal(weight.shape, stddev=0.15))
    pixels = np.asarray(Image.open(photo("a.png")))
    own = qdnet_keras.score(pixels, model).score
    target = own - 1.5  # a network that has not learnt moves scores by little
    result = qdnet_keras.enhance(pixels, target, model, sampler="prior")
    assert 0 < result.epsilon <= 1
    assert (result.pixels != pixels).any()
    assert abs(result.score_after - target) < abs(own - target)
    again = qdnet_keras.score(result.pixels, model).score
    assert again == pytest.approx(result.score_after, abs=1e-3)


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


def test_bytes_files_and_pillow_images_have_the_score_of_the_file(model, photo):
    path = photo("a.png")
    expected = qdnet_keras.score(path, model)
    data = path.read_bytes()
    with path.open("rb") as file:
        for picture in (str(path), data, bytearray(data), io.BytesIO(data), file, Image.open(path)):
            assert qdnet_keras.score(picture, model) == expected


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_pillow_images_of_every_mode_score_as_their_file_does(model, photo, mode, tmp_path):
    image = Image.open(photo("a.png"))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "b.png")
    image.save(path)
    assert qdnet_keras.score(image, model) == qdnet_keras.score(path, model)


def test_a_pillow_image_is_turned_upright(model, photo):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise
    turned = Image.open(photo("turned.png", exif=exif))
    upright = np.rot90(np.asarray(turned), -1)
    assert qdnet_keras.score(turned, model) == qdnet_keras.score(upright, model)
    enhanced = qdnet_keras.enhance(turned, 50, model)
    assert enhanced.pixels.shape == upright.shape


@pytest.mark.parametrize("picture", [3, ["a.png"], None])
def test_what_is_no_picture_is_told(model, picture):
    with pytest.raises(TypeError, match=f"Received: {type(picture).__name__}"):
        qdnet_keras.score(picture, model)


def test_unusable_pillow_images_and_bytes_are_told(model):
    with pytest.raises(ImageError, match="mode F; convert it to RGB"):
        qdnet_keras.score(Image.new("F", (64, 64)), model)
    with pytest.raises(ImageError, match="The picture"):
        qdnet_keras.score(b"no picture", model)


def test_save_keeps_the_metadata_of_a_file(model, photo, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    path = photo("a.jpg", exif=exif, dpi=(300, 300))
    own = qdnet_keras.score(path, model).score
    enhanced = qdnet_keras.enhance(path, own, model)
    enhanced.save(tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as saved:
        assert saved.getexif()[0x010F] == "Maker"
        np.testing.assert_array_equal(np.asarray(saved), enhanced.pixels)
    with pytest.raises(OutputError, match="exists already"):
        enhanced.save(tmp_path / "b.png")
    enhanced.save(tmp_path / "b.png", force=True)


def test_save_of_an_array_keeps_its_depth(model, photo, tmp_path):
    pixels = np.asarray(Image.open(photo("a.png"))).astype(np.uint16) * 257
    enhanced = qdnet_keras.enhance(pixels, qdnet_keras.score(pixels, model).score, model)
    enhanced.save(str(tmp_path / "b.tif"))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), pixels)


@pytest.mark.parametrize(
    "suffix", [".jpg", ".png", ".tif", ".webp", ".heic", ".avif", ".jxl", ".jp2"]
)
def test_score_after_is_that_of_the_file_saved(model, photo, tmp_path, suffix):
    source, path = photo("a.png", size=(192, 128)), tmp_path / f"saved{suffix}"
    own = qdnet_keras.score(source, model).score
    for target in (own, 0.0 if own > 50 else 100.0):
        enhanced = qdnet_keras.enhance(source, target, model, save_as=path, long_side=96)
        enhanced.save(path, force=True)
        saved = qdnet_keras.score(path, model, long_side=96).score
        assert enhanced.score_after == pytest.approx(saved, abs=1e-3)


def test_a_file_that_cannot_be_saved_is_told_before_anything_is_computed(model, photo, tmp_path):
    with pytest.raises(OutputError, match="unknown suffix"):
        qdnet_keras.enhance(photo("a.png"), 50, model, save_as="a.bmp")
    Image.open(photo("a.png")).convert("RGBA").save(tmp_path / "b.png")
    with pytest.raises(OutputError, match="lose its alpha"):
        qdnet_keras.enhance(tmp_path / "b.png", 50, model, save_as="b.jpg")
