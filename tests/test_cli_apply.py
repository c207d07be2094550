"""`enhance --recipe --cube` and `apply`: the commands, their files and their refusals."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner, Result

from qdnet_keras import QDNet, Recipe
from qdnet_keras.cli import app


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def records(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    """A coarse picture with some noise, of 16 bits, `[64, 96, 3]`."""
    random = np.random.default_rng(2)
    coarse = Image.fromarray(random.integers(20, 230, (6, 8, 3), np.uint8))
    smooth = np.asarray(coarse.resize((96, 64), Image.Resampling.BICUBIC))
    noisy = np.clip(smooth + random.normal(0, 4, smooth.shape), 0, 255)
    return (257 * noisy).astype(np.uint16)


@pytest.fixture(scope="module")
def moving_preset(tiny_preset, samples, tmp_path_factory) -> Path:
    """The tiny network, used to pictures like `samples`, with a decoder and a scorer that act."""
    model = QDNet.from_preset(tiny_preset)
    random = np.random.default_rng(1)
    for layer in model.scorer.hidden:
        layer.kernel.assign(np.abs(random.normal(0.3, 0.1, layer.kernel.shape)))
        layer.bias.assign(np.full(layer.bias.shape, 0.5))
    model.scorer.output_layer.kernel.assign(np.full((8, 1), 0.3))
    contrasts = np.linspace(0.6, 1.1, 6)[:, None, None, None]
    alike = (0.5 + contrasts * (samples / 65535 - 0.5)).clip(0, 1).astype(np.float32)
    model.posterior.adapt(model.split(alike).statistics)
    loc = model.encode((samples / 65535).astype(np.float32)[None]).loc
    model.scorer.output_layer.bias.assign(-model.scorer(loc))
    for layer in (model.decoder.cells, model.decoder.whole_tones, model.decoder.whole_tint):
        layer.kernel.assign(random.normal(0.0, 0.2, layer.kernel.shape))
    folder = tmp_path_factory.mktemp("moving") / "mover"
    model.save_to_preset(folder)
    return folder


@pytest.fixture
def recipe(tmp_path) -> Path:
    from test_recipes import a_recipe

    a_recipe().save(tmp_path / "look.json")
    return tmp_path / "look.json"


def test_apply_gives_the_same_frame_the_same_pixels(moving_preset, samples, tmp_path):
    path, look, table = tmp_path / "a.tif", tmp_path / "new/look.json", tmp_path / "new/look.cube"
    tifffile.imwrite(path, samples, photometric="rgb", compression="zlib", resolution=(300, 300))
    asked = ("-o", tmp_path / "b.tif", "--recipe", look, "--cube", table, "--json")
    result = run("enhance", path, "--target", 100, "--preset", moving_preset, *asked)
    assert result.exit_code == 0, result.output
    (record,) = records(result)
    assert record["recipe"] == str(look)
    assert record["cube"]["file"] == str(table)
    assert 0 <= record["cube"]["delta_e_left_out"] < record["cube"]["delta_e_made"]
    assert Recipe.load(look).preset.name == "mover"
    assert Recipe.load(look).score_after == record["score_after"]
    assert "LUT_3D_SIZE 33" in table.read_text()
    result = run("apply", look, path, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    output = tmp_path / "out/a.tif"
    assert records(result) == [{"file": str(path), "output": str(output), "notes": []}]
    enhanced, applied = tifffile.imread(tmp_path / "b.tif"), tifffile.imread(output)
    assert (enhanced != samples).any()
    assert np.abs(enhanced.astype(int) - applied).max() <= 1
    with tifffile.TiffFile(output) as tiff:
        assert tiff.pages[0].compression.name == "ADOBE_DEFLATE"
        assert tiff.pages[0].get_resolution() == (300, 300)


def test_enhance_tells_people_what_it_keeps(tiny_preset, photo, tmp_path):
    path = photo("a.png")
    result = run(
        *("enhance", path, "--target", 50, "--preset", tiny_preset),
        *("--recipe", tmp_path / "look.json", "--cube", tmp_path / "look.cube"),
    )
    assert result.exit_code == 0, result.output
    assert f"recipe {tmp_path / 'look.json'}" in result.stdout
    assert "look.cube leaves out" in result.stdout


@pytest.mark.parametrize("option", ["--recipe", "--cube"])
def test_a_recipe_or_table_is_of_one_rendering_made_here(tiny_preset, photo, tmp_path, option):
    path, file = photo("a.png"), tmp_path / "new" / "kept"
    asked = (option, file, "--preset", tiny_preset)
    assert run("enhance", path, photo("b.png"), "--target", 50, *asked).exit_code == 2
    assert run("enhance", path, "--ladder", "40,60", *asked).exit_code == 2
    served = run("enhance", path, "--target", 50, option, file, "--server", "localhost:1")
    assert served.exit_code == 2
    assert not file.parent.exists()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize("option", ["--recipe", "--cube"])
def test_a_recipe_or_table_never_overwrites_unless_forced(tiny_preset, photo, tmp_path, option):
    path, file = photo("a.png"), tmp_path / "kept"
    file.write_text("mine")
    command = ("enhance", path, "--target", 50, "--preset", tiny_preset, option, file)
    result = run(*command)
    assert result.exit_code == 7
    assert str(file) in result.stderr
    assert file.read_text() == "mine"
    assert not (tmp_path / "a_50.png").exists()
    assert run(*command, "--force").exit_code == 0
    assert file.read_text() != "mine"


def test_a_network_without_tone_curves_is_told_before_the_work(tiny_preset, photo, tmp_path):
    config = json.loads((tiny_preset / "config.json").read_text())
    config["model"]["head"] = "rgb"
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset/config.json").write_text(json.dumps(config))
    command = ("enhance", photo("a.png"), "--target", 50, "--preset", tmp_path / "preset")
    result = run(*command, "--recipe", tmp_path / "look.json")
    assert result.exit_code == 6
    assert "head grid" in result.stderr


def test_apply_goes_on_past_a_bad_file(photo: Callable[..., Path], recipe, tmp_path):
    photo("in/b.png"), photo("in/deep/c.jpg", seed=1), photo("in/deep/b.png", seed=2)
    (tmp_path / "in/a.png").write_text("no picture")
    result = run("apply", recipe, tmp_path / "in", "-o", tmp_path / "out", "--json")
    assert result.exit_code == 1
    bad, first, twice, other = records(result)
    assert "a.png" in bad["error"]
    assert [first["output"], other["output"]] == [
        str(tmp_path / "out" / name) for name in ("b.png", "c.jpg")
    ]
    assert "two photographs" in twice["error"]
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["b.png", "c.jpg"]
    done = np.asarray(Image.open(tmp_path / "out/b.png"))
    expected = Recipe.load(recipe).render(np.asarray(Image.open(tmp_path / "in/b.png")))
    np.testing.assert_array_equal(done, expected)


def test_apply_never_overwrites_unless_forced(photo, recipe, tmp_path):
    path = photo("a.png")
    before = path.read_bytes()
    result = run("apply", recipe, path, "-o", tmp_path)
    assert result.exit_code == 7
    assert str(path) in result.stderr
    assert path.read_bytes() == before
    assert run("apply", recipe, path, "-o", tmp_path, "--force").exit_code == 0
    assert path.read_bytes() != before


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\x89PNG\r\n", b'{"recipe": 7}'])
def test_a_bad_recipe_ends_apply_in_a_sentence(photo, tmp_path, content):
    file = tmp_path / "look.json"
    if content is not None:
        file.write_bytes(content)
    result = run("apply", file, photo("a.png"), "-o", tmp_path / "out")
    assert result.exit_code == 5
    (line,) = result.stderr.splitlines()
    assert str(file) in line
    assert not (tmp_path / "out").exists()
