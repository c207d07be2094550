"""The released preset on the bundled photographs, whose scenes no training picture shows."""

import io
import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from photo_files import SRGB
from PIL import Image, ImageCms
from test_images_colour import SPACES, in_file, light, samples, to_xyz, wide

from qdnet_keras import QDNet, enhance, load, score
from qdnet_keras.defaults import DEFAULT_PRESET
from qdnet_keras.hubs.bundle import CARD
from qdnet_keras.model.presets import preset_folder, preset_names
from qdnet_keras.photos.files import read_photo, write_photo

RELEASED_SCORES = Path(__file__).parent / "data/released_scores.json"
SAMPLES = Path(str(resources.files("qdnet_keras") / "samples"))


@pytest.fixture(scope="module")
def model() -> QDNet:
    return load()


def test_preset_is_released_with_a_card_that_names_its_labels():
    assert DEFAULT_PRESET in preset_names()
    card = (preset_folder(DEFAULT_PRESET) / CARD).read_text()
    for source in ("votes of people", "BIQ2021", "LIVE In the Wild", "ESPL-LIVE HDR", "Licence"):
        assert source in card
    size = sum(file.stat().st_size for file in preset_folder(DEFAULT_PRESET).iterdir())
    assert size <= 16 * 2**20


def test_bundled_photographs_score_as_they_did_when_the_preset_was_released(model):
    """After new weights `make released-scores` writes the file anew."""
    released = json.loads(RELEASED_SCORES.read_text())
    assert released.keys() == {path.name for path in SAMPLES.glob("*.jpg")}
    for name, expected in released.items():
        found = score(SAMPLES / name, model)
        for field, value in expected.items():
            assert getattr(found, field) == pytest.approx(value, abs=0.01), (name, field)


@pytest.mark.parametrize(
    ("good", "poor"),
    [
        ("bedroom_fusion", "bedroom_overexposed"),
        ("armchair_fusion", "armchair_underexposed"),
        ("sunrise_drago", "sunrise_washed"),
        ("dog_reinhard", "dog_bilateral"),
    ],
)
def test_better_rendering_of_a_scene_scores_higher(model, good, poor):
    better, worse = (score(SAMPLES / f"{name}.jpg", model).score for name in (good, poor))
    assert better > worse + 2.0


@pytest.mark.parametrize("name", ["sunrise_washed", "armchair_underexposed"])
def test_ladder_rises_and_reports_what_it_reached(model, name, tmp_path):
    path = SAMPLES / f"{name}.jpg"
    targets = [30.0, 40.0, 50.0]
    results = [enhance(path, target, model) for target in targets]
    after = [result.score_after for result in results]
    assert after == sorted(after)
    for target, result in zip(targets, results, strict=True):
        result.save(tmp_path / "rendering.jpg", force=True)
        again = score(tmp_path / "rendering.jpg", model).score
        assert again == pytest.approx(result.score_after, abs=0.2)
        assert result.reached == (abs(result.score_after - target) <= 1.0)


def test_enhancing_keeps_structure_and_adds_no_frame(model):
    pixels = read_photo(SAMPLES / "sunrise_washed.jpg").pixels
    output = enhance(pixels, 50.0, model).pixels
    luma, changed = (picture.mean(axis=-1) for picture in (pixels, output))
    inside, outside = (np.gradient(values)[0].ravel() for values in (luma, changed))
    assert np.corrcoef(inside, outside)[0, 1] > 0.9
    ratio = (changed + 1.0) / (luma + 1.0)
    border = np.concatenate([ratio[:3].ravel(), ratio[-3:].ravel()])
    next_to_it = np.concatenate([ratio[9:12].ravel(), ratio[-12:-9].ravel()])
    assert abs(border.mean() - next_to_it.mean()) < 0.05


def test_present_score_returns_the_picture(model):
    pixels = read_photo(SAMPLES / "bedroom_fusion.jpg").pixels
    result = enhance(pixels, score(pixels, model).score, model)
    assert np.array_equal(result.pixels, pixels)


def test_scores_and_renderings_are_those_of_the_srgb_twin(model, tmp_path):
    twin = read_photo(SAMPLES / "courtyard_reinhard.jpg").pixels[::2, ::2]
    matrix = np.linalg.inv(to_xyz(SPACES["prophoto"][0])) @ to_xyz(SPACES["linear"][0])
    stored = samples(light(twin / 255, None) @ matrix.T, 1.8)
    path = tmp_path / "prophoto.png"
    path.write_bytes(in_file("png", np.rint(stored * 65535).astype(np.uint16), wide("prophoto")))
    expected = score(twin, model).score
    seen, told = score(path, model), score(np.rint(stored * 255).astype(np.uint8), model)
    assert seen.score == pytest.approx(expected, abs=0.3)
    assert abs(told.mos - seen.mos) > 0.5
    photo = read_photo(path)
    enhanced = enhance(photo.srgb, expected - 4, model)
    assert enhanced.epsilon > 0
    write_photo(photo.with_rendered(enhanced.pixels), tmp_path / "out.png")
    assert score(tmp_path / "out.png", model).score == pytest.approx(enhanced.score_after, abs=1.2)


@pytest.mark.parametrize("space", ["adobe", "p3", "linear"])
def test_8_bits_of_another_encoding_score_as_their_srgb_twin(model, space):
    pixels = read_photo(SAMPLES / "bedroom_overexposed.jpg").pixels[::2, ::2]
    profiles = (ImageCms.ImageCmsProfile(io.BytesIO(icc)) for icc in (wide(space), SRGB))
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    twin = np.asarray(
        ImageCms.profileToProfile(
            Image.fromarray(pixels), *profiles, renderingIntent=1, flags=flags
        )
    )
    seen, expected = score(in_file("png", pixels, wide(space)), model), score(twin, model)
    assert seen.score == pytest.approx(expected.score, abs=0.3)
    assert seen.mos == pytest.approx(expected.mos, abs=0.05)


def test_demo_writes_a_ladder_in_a_fresh_process(tmp_path):
    command = [sys.executable, "-m", "qdnet_keras", "demo", "--out", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "bedroom_fusion.jpg" in done.stdout
    assert done.stderr == ""
    ladder = read_photo(tmp_path / "demo" / "ladder.png").pixels
    assert ladder.shape[0] > 300
