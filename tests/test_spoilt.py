"""Photographs beside themselves, spoilt: what the measure says of rules whose truth is known."""

import numpy as np
import pytest
from PIL import Image

from qdnet_keras.errors import DataError
from qdnet_keras.evaluation import spoilt
from qdnet_keras.synthesis.edits import EDITS


@pytest.fixture
def photographs(tmp_path):
    random = np.random.default_rng(0)
    files = []
    for number in range(8):
        small = Image.fromarray(random.integers(20, 230, (6, 8, 3), dtype=np.uint8))
        files.append(tmp_path / f"{number}.png")
        small.resize((80, 60), Image.Resampling.BICUBIC).save(files[-1])
    return files


def test_each_kind_spoils_one_photograph_in_turn_and_the_seed_repeats_it(photographs):
    first, again = (list(spoilt.spoil_photographs(photographs, 64)) for _ in range(2))
    assert [pair.kind for pair in first] == list(spoilt.KINDS)
    assert set(spoilt.KINDS) <= EDITS.keys()
    for one, other in zip(first, again, strict=True):
        assert max(one.original.shape) == 64
        np.testing.assert_array_equal(one.spoilt, other.spoilt)
        assert (one.spoilt != one.original).any()


def test_distance_of_a_picture_from_itself_and_from_a_known_change():
    picture = np.full((32, 32, 3), 100, np.uint8)
    same = spoilt.distance(picture, picture)
    assert same == {
        "psnr": pytest.approx(spoilt.MOST_PSNR),
        "delta_e": 0.0,
        "ssim": pytest.approx(1.0),
    }
    off = spoilt.distance(picture, picture + np.uint8(10))
    assert off["psnr"] == pytest.approx(20 * np.log10(255 / 10), abs=1e-6)


def test_grey_world_undoes_a_cast_of_a_grey_picture():
    grey = np.random.default_rng(1).integers(60, 160, (40, 40, 1), dtype=np.uint8)
    cast = np.rint(grey * np.array([1.2, 1.0, 0.8])).astype(np.uint8)
    corrected = spoilt.grey_world(cast).astype(int)
    assert np.ptp(corrected, axis=-1).max() <= 2


def test_matching_a_picture_to_its_own_histogram_changes_nothing():
    picture = np.random.default_rng(2).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    own = np.cumsum(np.bincount(picture.ravel(), minlength=256)) / picture.size
    np.testing.assert_array_equal(spoilt.match_histogram(picture, own), picture)


def test_liked_tests_are_well_liked_test_photographs_of_the_part(photographs):
    folder = photographs[0].parent
    rows = ["file,mos,split,part"]
    for number, file in enumerate(photographs):
        split, part = ("train", "test")[number % 2], ("a", "b")[number // 4]
        rows.append(f"{file.name},{70 + 2 * number},{split},{part}")
    labels = folder / "labels.csv"
    labels.write_text("\n".join(rows))
    assert {file.name for file in spoilt.liked_tests(labels, 9, 75, "b")} == {"5.png", "7.png"}
    (one,) = spoilt.liked_tests(labels, 1, 75, "b")
    assert [one] == spoilt.liked_tests(labels, 1, 75, "b")
    with pytest.raises(DataError, match="no test photographs with a MOS of 90"):
        spoilt.liked_tests(labels, 9, 90, "b")
