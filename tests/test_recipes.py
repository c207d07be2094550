"""Recipes: the same pixels as the network gives, files of any state, tables in other programs."""

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.interpolate import RegularGridInterpolator
from skimage.color import deltaE_ciede2000, rgb2lab

import qdnet_keras
from qdnet_keras import ConfigError, ImageError, OutputError, Recipe
from qdnet_keras.model.layers.tone_grid import KNOTS, TONE_CHANNELS
from qdnet_keras.outcomes import Enhanced
from qdnet_keras.recipes.cube import SIZE, Cube, global_part

KNOT_LEVELS = np.linspace(0, 1, KNOTS)


def a_change(seed: int = 0, cells: tuple[int, int] = (3, 4), tint: float = 0.05) -> np.ndarray:
    """Smooth rising curves that differ from cell to cell, gains of e^±0.5, a warm or cold tint."""
    random = np.random.default_rng(seed)
    light = KNOT_LEVELS ** np.exp(random.uniform(-0.8, 0.8, (*cells, 1)))
    gain = np.exp(random.uniform(-0.5, 0.5, (*cells, KNOTS)))
    curves = np.stack([light, gain], axis=-1).reshape(*cells, 2 * KNOTS)
    colour = np.broadcast_to([tint, 0.0, -tint], (*cells, 3))
    return np.concatenate([curves, colour], axis=-1).astype(np.float32)


def a_recipe(change: np.ndarray | None = None) -> Recipe:
    return Recipe(a_change() if change is None else change, 70.0, 31.25, 69.5, 0.625)


def a_picture(seed: int = 0, size: tuple[int, int] = (64, 96), dtype: Any = np.uint8) -> np.ndarray:
    """Coarse colours, enlarged, with some noise."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (5, 7, 3), np.uint8))
    smooth = np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC)) / 255
    noisy = np.clip(smooth + random.normal(0, 0.02, smooth.shape), 0, 1)
    return np.rint(noisy * np.iinfo(dtype).max).astype(dtype)


# --- Recipe ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_same_frame_becomes_what_the_network_makes_of_it(tiny_preset, tmp_path, dtype):
    from qdnet_keras.model.enhancement import Change, render_pixels

    model, pixels, change = qdnet_keras.load(tiny_preset), a_picture(dtype=dtype), a_change()
    expected = render_pixels(model, Change(change[None], np.ones((1, 6), np.float32)), pixels)
    assert (expected != pixels).mean() > 0.9
    a_recipe(change).save(tmp_path / "a.json")
    done = Recipe.load(tmp_path / "a.json").render(pixels)
    assert done.dtype == dtype
    assert np.abs(done.astype(int) - expected).max() <= 1


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    cells=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    dtype=st.sampled_from([np.uint8, np.uint16]),
)
def test_a_recipe_that_changes_nothing_gives_the_picture(seed, cells, dtype):
    identity = np.zeros((*cells, TONE_CHANNELS), np.float32)
    identity[..., : 2 * KNOTS : 2] = KNOT_LEVELS
    identity[..., 1 : 2 * KNOTS : 2] = 1
    pixels = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (33, 41, 3), dtype)
    pixels[::3] = np.random.default_rng(seed).choice([0, np.iinfo(dtype).max], pixels[::3].shape)
    np.testing.assert_array_equal(a_recipe(identity).render(pixels), pixels)


def test_cells_lie_at_the_same_shares_of_a_frame_of_another_size():
    pixels = a_picture(size=(60, 90))
    large = pixels.repeat(5, axis=0).repeat(5, axis=1)
    done, large_done = a_recipe().render(pixels), a_recipe().render(large)
    middle = large_done[2::5, 2::5]  # where the middles of the small one's pixels lie
    assert np.abs(middle.astype(int) - done).max() <= 1


def test_a_file_holds_everything_and_says_what_it_is(tiny_preset, tmp_path):
    change = a_change()
    enhanced = Enhanced(a_picture(), 70.0, 31.25, 69.5, 0.625, True, change=change)
    Recipe.of(enhanced, tiny_preset).save(tmp_path / "a.json")
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["recipe"] == 1
    assert record["made_by"] == f"qdnet-keras {qdnet_keras.__version__}"
    content = b"".join(
        (tiny_preset / f"{name}").read_bytes()
        for name in ("config.json", "weights.safetensors", "calibration.safetensors")
    )
    (tmp_path / "all").write_bytes(content)
    digest = subprocess.run(["sha256sum", tmp_path / "all"], capture_output=True, text=True)
    assert record["preset"] == {"name": tiny_preset.name, "sha256": digest.stdout.split()[0]}
    scores = [record[name] for name in ("target", "score_before", "score_after", "epsilon")]
    assert scores == [70.0, 31.25, 69.5, 0.625]
    light = np.frombuffer(base64.b64decode(record["change"]["light"]), "<f4").reshape(3, 4, KNOTS)
    np.testing.assert_array_equal(light, change[..., : 2 * KNOTS : 2])
    loaded = Recipe.load(tmp_path / "a.json")
    np.testing.assert_array_equal(loaded.change, change)
    again = tmp_path / "b.json"
    loaded.save(again)
    assert again.read_bytes() == (tmp_path / "a.json").read_bytes()
    with pytest.raises(OutputError, match=r"b\.json"):
        loaded.save(again)


def text_of(values: Any) -> str:
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


FALLING = np.broadcast_to(KNOT_LEVELS[::-1], (3, 4, KNOTS))
NOT_FINITE = np.where(np.arange(KNOTS) == 3, np.nan, np.broadcast_to(KNOT_LEVELS, (3, 4, KNOTS)))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["recipe"], 2, "form 2"),
        (["recipe"], "one", "recipe"),
        (["change", "light"], text_of(FALLING), "rise"),
        (["change", "light"], text_of(NOT_FINITE), "0..1"),
        (["change", "light"], text_of(np.linspace(0, 2, 3 * 4 * KNOTS)), "0..1"),
        (["change", "light"], text_of(KNOT_LEVELS), "64 bytes"),
        (["change", "light"], "?" * 64, "light"),
        (["change", "light"], 5, "light"),
        (["change", "saturation"], text_of(np.full((3, 4, KNOTS), -1.0)), "saturation"),
        (["change", "saturation"], text_of(np.full((3, 4, KNOTS), np.inf)), "saturation"),
        (["change", "rows"], 0, "rows"),
        (["change", "rows"], 10**30, "rows"),
        (["change", "knots"], 8, "knots"),
        (["change", "tint"], [0.1, 0.2], "tint"),
        (["change", "tint"], [0.1, 0.2, 9.0], "tint"),
        (["epsilon"], 1.5, "epsilon"),
        (["target"], None, "target"),
        (["surprise"], 1, "surprise"),
    ],
)
def test_a_damaged_recipe_is_told_in_a_sentence(tmp_path, path, value, said):
    file = tmp_path / "a.json"
    a_recipe().save(file)
    record = json.loads(file.read_text())
    part = record
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    file.write_text(json.dumps(record))
    with pytest.raises(ConfigError) as caught:
        Recipe.load(file)
    message = str(caught.value)
    assert message.startswith(str(file))
    assert said in message
    assert message.endswith(".")
    assert "\n" not in message
    assert len(message) < 400


@pytest.mark.parametrize("keep", [0, 1, 100, -2])
def test_a_recipe_that_is_cut_short_is_told(tmp_path, keep):
    a_recipe().save(tmp_path / "a.json")
    cut = tmp_path / "cut.json"
    cut.write_bytes((tmp_path / "a.json").read_bytes()[:keep])
    with pytest.raises(ConfigError, match="cut short"):
        Recipe.load(cut)
    with pytest.raises(ConfigError, match="No such file"):
        Recipe.load(tmp_path / "none.json")


@pytest.mark.parametrize("change", [None, np.zeros((64, 96, 12), np.float32)])
def test_what_has_no_tone_curves_gives_no_recipe(change):
    enhanced = Enhanced(a_picture(), 70.0, 31.0, 69.0, 0.6, True, change=change)
    with pytest.raises(ValueError, match="tone curves"):
        Recipe.of(enhanced)


def test_apply_takes_what_enhance_takes_and_keeps_the_file(photo, tmp_path):
    path = photo("a.jpg", dpi=(300, 300), quality=95)
    done = qdnet_keras.apply(path, a_recipe())
    expected = a_recipe().render(np.asarray(Image.open(path)))
    np.testing.assert_array_equal(done.pixels, expected)
    np.testing.assert_array_equal(
        qdnet_keras.apply(Image.open(path), a_recipe()).pixels, done.pixels
    )
    done.save(tmp_path / "b.jpg")
    assert Image.open(tmp_path / "b.jpg").info["dpi"] == (300, 300)
    with pytest.raises(ImageError):
        qdnet_keras.apply(np.zeros((3, 3), np.uint8), a_recipe())


# --- Cube -----------------------------------------------------------------------------------------


def table_in_ffmpeg(cube: Path, pixels: np.ndarray, folder: Path) -> np.ndarray:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    before, after = folder / "before.png", folder / "after.png"
    Image.fromarray(pixels).save(before)
    command = ["ffmpeg", "-loglevel", "error", "-y", "-i", before, "-vf"]
    filters = f"format=gbrp,lut3d=file={cube.name}:interp=trilinear"
    subprocess.run([*command, filters, after], check=True, cwd=folder)
    return np.asarray(Image.open(after).convert("RGB"))


def table_in_opencolorio(cube: Path, pixels: np.ndarray, folder: Path) -> np.ndarray:
    ocio = pytest.importorskip("PyOpenColorIO")
    transform = ocio.FileTransform(str(cube), interpolation=ocio.INTERP_LINEAR)
    processor = ocio.Config.CreateRaw().getProcessor(transform).getDefaultCPUProcessor()
    values = np.ascontiguousarray(pixels, np.float32) / 255
    processor.applyRGB(values)
    return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)


READERS = pytest.mark.parametrize("read", [table_in_ffmpeg, table_in_opencolorio])


@READERS
def test_other_programs_read_the_table_that_was_fitted(tmp_path, read):
    recipe, pixels = a_recipe(a_change(3, cells=(1, 1))), a_picture(1)
    cube = Cube.fit(recipe, (pixels / 255).astype(np.float32))
    cube.save(tmp_path / "a.cube")
    seen = read(tmp_path / "a.cube", pixels, tmp_path).astype(int)
    axes = [np.linspace(0, 1, SIZE)] * 3
    expected = 255 * RegularGridInterpolator(axes, cube.table)(pixels / 255)
    assert np.abs(seen - expected).max() <= 1.01  # ffmpeg cuts fractions off
    exact = recipe.render(pixels).astype(int)
    assert np.abs(exact - pixels).mean() > 10
    assert np.abs(seen - exact).mean() < 0.7
    assert cube.left < 0.15


@READERS
def test_what_a_table_leaves_out_is_what_other_programs_miss(tmp_path, read):
    recipe, pixels = a_recipe(a_change(4, cells=(6, 8))), a_picture(2, size=(120, 160))
    cube = Cube.fit(recipe, (pixels / 255).astype(np.float32))
    cube.save(tmp_path / "a.cube")
    rendering = rgb2lab(recipe.render(pixels))
    missed = deltaE_ciede2000(rendering, rgb2lab(read(tmp_path / "a.cube", pixels, tmp_path)))
    assert missed.mean() == pytest.approx(cube.left, abs=0.1)
    assert deltaE_ciede2000(rendering, rgb2lab(pixels)).mean() == pytest.approx(cube.made, abs=0.1)
    assert 1 < cube.left < cube.made


def test_a_table_is_written_as_adobe_has_it(tmp_path):
    Cube.fit(a_recipe(), np.full((32, 32, 3), 0.5, np.float32)).save(tmp_path / "a.cube")
    lines = (tmp_path / "a.cube").read_text("ascii").splitlines()
    told = [line for line in lines if not line.startswith("#")]
    assert told[:3] == [f"LUT_3D_SIZE {SIZE}", "DOMAIN_MIN 0 0 0", "DOMAIN_MAX 1 1 1"]
    rows = np.array([line.split() for line in told[3:]], float)
    assert rows.shape == (SIZE**3, 3)
    assert rows.min() >= 0
    assert rows.max() <= 1
    reds = rows[:SIZE]  # the first 33 lines: red rises, green and blue are none
    assert (np.diff(reds[:, 0]) > 0).all()
    assert (reds[:, 0] >= reds[:, 1:].max(axis=1)).all()
    assert max(map(len, lines)) <= 250


def test_the_global_curve_is_that_of_the_places_where_the_luminance_is():
    """The left half is dark and the right bright, so each half's curve counts at its own end."""
    change = a_change(cells=(1, 2))
    change[0, 0, : 2 * KNOTS : 2], change[0, 1, : 2 * KNOTS : 2] = KNOT_LEVELS**0.5, KNOT_LEVELS**2
    picture = np.full((40, 80, 3), 0.2, np.float32)
    picture[:, 40:] = 0.8
    light = global_part(change, picture)[0, 0, : 2 * KNOTS : 2]
    seen_dark, seen_bright = 3, 12  # knots at 0.2 and 0.8
    assert light[seen_dark] == pytest.approx(0.2**0.5, abs=0.02)
    assert light[seen_bright] == pytest.approx(0.8**2, abs=0.02)
    mean = (KNOT_LEVELS**0.5 + KNOT_LEVELS**2) / 2
    assert light[7] == pytest.approx(mean[7], abs=1e-6)  # seen nowhere
    assert (np.diff(light) >= 0).all()
