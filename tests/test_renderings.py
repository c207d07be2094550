"""What a preset renders is judged by measures that have known values."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from qdnet_keras.cli import app
from qdnet_keras.evaluation.enhancement import (
    OTHERS,
    chroma_kept,
    clipped,
    edges_reversed,
    gamma_by_mean,
    gradient_correlation,
    hue_shift,
    kept,
    shift_of_greys,
    summary,
)


@pytest.fixture(scope="module")
def pixels():
    coarse = np.random.default_rng(0).integers(20, 200, (6, 7, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((56, 48), Image.Resampling.BICUBIC))


def test_nothing_changed_is_nothing_lost(pixels):
    figures = kept(pixels, pixels)
    assert figures["gradient correlation"] == pytest.approx(1)
    assert figures["clipping added"] == 0


def test_gradients_of_the_negative_run_the_other_way(pixels):
    assert gradient_correlation(pixels, 255 - pixels) == pytest.approx(-1)


def test_the_shift_of_greys_is_the_chroma_that_they_get():
    grey = np.full((40, 40, 3), 128, np.uint8)
    tinted = np.full((40, 40, 3), (140, 128, 120), np.uint8)
    lab = cv2.cvtColor(np.float32([[[140 / 255, 128 / 255, 120 / 255]]]), cv2.COLOR_RGB2LAB)
    assert shift_of_greys(grey, tinted) == pytest.approx(np.hypot(*lab[0, 0, 1:]), abs=0.05)
    assert np.isnan(shift_of_greys(np.full((40, 40, 3), (255, 0, 0), np.uint8), tinted))


def _from_lab(light, chroma, hue):
    angle = np.radians(hue)
    lab = np.float32([[[light, chroma * np.cos(angle), chroma * np.sin(angle)]]])
    rgb = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)[0, 0]
    assert rgb.min() > 0 and rgb.max() < 1
    return np.broadcast_to(np.round(255 * rgb).astype(np.uint8), (20, 20, 3))


def test_chroma_is_judged_by_the_hue_that_it_had():
    blue, paler = _from_lab(50, 30, 280), _from_lab(60, 18, 250)
    kept_blue = chroma_kept(blue, paler)
    assert kept_blue["blue"] == pytest.approx(0.6, abs=0.02)
    assert np.isnan(kept_blue["green"]) and np.isnan(kept_blue["skin-like"])
    assert hue_shift(blue, paler) == pytest.approx(30, abs=1)
    assert hue_shift(_from_lab(50, 30, 355), _from_lab(50, 30, 5)) == pytest.approx(10, abs=1)
    assert np.isnan(hue_shift(np.full((9, 9, 3), 90, np.uint8), blue[:9, :9]))


def test_edges_that_run_the_other_way_are_counted():
    steps = np.zeros((8, 8, 3), np.uint8)
    steps[:, 2:4], steps[:, 4:6], steps[:, 6:] = 50, 100, 150
    turned = steps.copy()
    turned[:, 6:] = 80
    assert edges_reversed(steps, turned) == pytest.approx(100 / 3)
    assert edges_reversed(steps, steps) == edges_reversed(steps[:, :2], 255 - steps[:, :2]) == 0


def test_burnt_and_black_pixels_are_counted():
    picture = np.full((10, 10, 3), 100, np.uint8)
    picture[:2] = (255, 90, 90)  # one burnt colour is enough
    picture[2] = 0
    assert clipped(picture) == pytest.approx(30)


def test_gamma_brings_the_mean_level_to_the_middle():
    dark = np.full((40, 40, 3), 40, np.uint8)
    assert gamma_by_mean(dark).mean() == pytest.approx(127.5, abs=1)


@pytest.mark.parametrize("name", OTHERS)
def test_other_methods_return_pictures(pixels, name):
    output = OTHERS[name](pixels)
    assert (output.shape, output.dtype) == (pixels.shape, np.uint8)


def test_shares_are_of_all_renderings():
    rows = [
        {
            "TMQI gain": gain,
            "gradient correlation": 0.95,
            "shift of greys": 1,
            "clipping added": 2,
            "edges reversed": 0,
            "hue shift": 2,
            "chroma of blue": chroma,
            "chroma of green": np.nan,
            "chroma of skin-like": 1,
        }
        for gain, chroma in ((0.2, 0.5), (-0.1, 0.9), (0.3, 1.1), (0.0, np.nan))
    ]
    figures = summary(rows)
    assert figures["TMQI gain"] == pytest.approx(0.1)
    assert figures["TMQI rose"] == 0.5
    assert figures["gradient correlation >= 0.9"] == 1
    assert figures["clipping added <= 1"] == 0
    assert figures["chroma of blue, median"] == 0.9
    assert figures["chroma >= 0.7"] == pytest.approx(6 / 7)


def test_renderings_of_a_preset(tiny_preset, pixels, tmp_path):
    """Two scenes of the test split, with their HDR originals."""
    from qdnet_keras.synthesis.hdr import write_exr

    data = tmp_path / "data"
    (data / "hdr").mkdir(parents=True)
    rows = ["file,mos,scene,split"]
    pixels = np.asarray(Image.fromarray(pixels).resize((176, 164)))
    for scene in range(3):
        light = (np.roll(pixels, 9 * scene, 1) / 255.0).astype(np.float32) ** 2.2 + 0.01
        write_exr(light, data / "hdr" / f"{scene}.exr")
        for k, level in enumerate((0.5, 1.0)):
            picture = np.clip(np.roll(pixels, 9 * scene, 1) * level, 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(data / f"{scene}_{k}.png")
            rows.append(f"{scene}_{k}.png,{40 + 10 * k},{scene},{'test' if scene else 'train'}")
    (data / "labels.csv").write_text("\n".join(rows))
    out = tmp_path / "run"
    arguments = ("--data", data, "--out", out, "--methods", "qdnet", "--fixed-split", "--json")
    arguments += ("--preset", tiny_preset, "--renderings", "--every", 2, "--targets", "45,40")
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    judged = json.loads(result.stdout.splitlines()[-1])["renderings"]
    assert judged["enhancement"]["pictures"] == 2
    assert 0 <= judged["scores"]["labels in the 90 % interval"] <= 1
    assert judged["pictures"]["swapped gain"] == pytest.approx(
        judged["pictures"]["swapped psnr"] - judged["pictures"]["unchanged psnr"]
    )
    assert list(judged["methods"]) == ["QD-net", *OTHERS]
    assert json.loads((out / "renderings.json").read_text()) == judged
    assert "| TMQI gain" in (out / "renderings.md").read_text()
