"""Features against the vectors of the authors' releases, see tests/data/features/README.md."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import qdnet_keras
from qdnet_keras.evaluation.methods import brisque, desique, gm_log, higrade, published
from qdnet_keras.synthesis.hdr import read_scene
from qdnet_keras.synthesis.tmqi import LUMINANCE, local_fidelity, tmqi

DATA = Path(__file__).parent / "data/features"
SAMPLES = Path(qdnet_keras.__file__).parent / "samples"
PICTURES = ("armchair_fusion", "courtyard_grunge", "low_contrast", "sunrise_drago")
OF_ALL = pytest.mark.parametrize("name", PICTURES)


def read(file, value="value"):
    """Index → value of each picture."""
    vectors = {}
    with (DATA / file).open(newline="") as lines:
        for row in csv.DictReader(lines):
            vector = vectors.setdefault(row["picture"].removesuffix(".png"), {})
            vector[row["index"]] = float(row[value])
    return vectors


def picture(name):
    if name == "low_contrast":
        return np.asarray(Image.open(DATA / "low_contrast.png"))
    pixels = np.asarray(Image.open(SAMPLES / f"{name}.jpg"))
    return pixels[:300, :400] if name == "courtyard_grunge" else pixels


def check(found, reference, relative, leave_out=()):
    indices = [int(index) for index in reference if int(index) not in leave_out]
    expected = [reference[str(index)] for index in indices]
    np.testing.assert_allclose(found[indices], expected, rtol=relative, atol=1e-7)


@OF_ALL
def test_gm_log(name):
    check(gm_log.features(picture(name)), read("gm_log.csv")[name], 1e-5)


@OF_ALL
def test_desique_spatial(name):
    reference = read("desique_spatial.csv")[name]
    assert len(reference) == 32
    check(desique.features(picture(name)), reference, 1e-5)


@OF_ALL
def test_brisque(name):
    reference, found = read("brisque.csv")[name], brisque.features(picture(name))
    noise = read("brisque_uncertain.csv", "relative_uncertainty").get(name, {})
    check(found, reference, 1e-5, leave_out=[int(index) for index in noise])
    for index, uncertainty in noise.items():  # given to two digits
        assert found[int(index)] == pytest.approx(reference[index], rel=1.05 * uncertainty)


@OF_ALL
def test_higrade_1(name):
    check(higrade.features_1(picture(name)), read("higrade_1.csv")[name], 1e-5)


@OF_ALL
def test_higrade_2_but_for_its_coherence(name):
    coherence = [40 * channel + k for channel in range(3) for k in range(36, 40)]
    reference = read("higrade_2.csv")[name]
    check(higrade.features_2(picture(name)), reference, 1e-5, leave_out=coherence)


@pytest.mark.parametrize("name", ["courtyard", "night", "sunrise"])
def test_tmqi(name):
    reference = read("tmqi.csv")[f"tmqi_{name}"]
    ldr = np.asarray(Image.open(DATA / f"tmqi_{name}.png"))
    hdr = read_scene(SAMPLES / f"hdr/{name}.exr")[-ldr.shape[0] :, : ldr.shape[1]]
    np.testing.assert_allclose(tmqi(hdr, ldr), [reference[key] for key in "QSN"], rtol=1e-9)
    light, grey = (values.astype(float) @ LUMINANCE for values in (hdr, ldr))
    light = (2**32 - 1) * (light - light.min()) / np.ptp(light)
    assert local_fidelity(light, grey, 16).mean() == pytest.approx(reference["S_1"], rel=1e-9)


with (DATA / "published_statistics.csv").open(newline="") as lines:
    STATISTICS = {row.pop("file"): row for row in csv.DictReader(lines)}


@pytest.mark.parametrize("file", STATISTICS)
def test_published_statistics(file):
    found = published.features(np.asarray(Image.open(SAMPLES / file)))
    expected = np.array([float(value) for value in STATISTICS[file].values()])
    patterns = slice(21, 51)  # a few pixels tie with a neighbour, and rounding decides
    np.testing.assert_allclose(found[patterns], expected[patterns], rtol=2.5e-3)
    found[patterns] = expected[patterns]
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-7)
