from itertools import islice

import numpy as np
import pytest
import tensorflow as tf
import tifffile
from PIL import Image

from qdnet_keras.data.pairs import training_pairs, training_pictures, whole_scenes
from qdnet_keras.data.pictures import Pictures
from qdnet_keras.data.reading import read_csv
from qdnet_keras.errors import DataError, ImageError


@pytest.fixture
def make(tmp_path):
    """Writes pictures and a manifest: `make({"a": [picture, picture], "b": [picture]})`."""

    def write(scenes):
        rows = ["file,mos,scene"]
        for scene, pictures in scenes.items():
            for number, picture in enumerate(pictures):
                name = f"{scene}{number}.png"
                Image.fromarray(picture).save(tmp_path / name)
                rows.append(f"{name},{10 * len(rows)},{scene}")
        (tmp_path / "labels.csv").write_text("\n".join(rows))
        return read_csv(tmp_path / "labels.csv", mos_range=(0.0, 100.0))

    return write


def noise(seed, height=40, width=48):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def coordinates(height, width, number=0):
    """A picture whose red is the row, green the column and blue its number."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, number)], axis=-1).astype("uint8")


def take(manifest, count, **options):
    """The first batches as arrays."""
    options = {"batch_size": 2, "crop": 32, **options}
    pairs = training_pairs(manifest, training_pictures(manifest), **options)
    return list(islice(pairs.as_numpy_iterator(), count))


def assert_same(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


@pytest.fixture
def three_scenes(make):
    return make({s: [noise(10 * i + j) for j in range(2)] for i, s in enumerate("abc")})


# === Which examples ===


def test_form_of_a_batch(three_scenes):
    (batch,) = take(three_scenes, 1)
    assert {key: (value.shape, value.dtype) for key, value in batch.items()} == {
        "image": ((2, 32, 32, 3), np.dtype("float32")),
        "pair": ((2, 32, 32, 3), np.dtype("float32")),
        "mos": ((2,), np.dtype("float32")),
        "pair_mos": ((2,), np.dtype("float32")),
    }
    for key in ("image", "pair"):
        assert 0 <= batch[key].min() < 0.1 and 0.9 < batch[key].max() <= 1


@pytest.mark.parametrize("start", [1, 4, 9])
def test_batches_depend_on_seed_and_step_alone(three_scenes, start):
    options = {"scale": (0.5, 2.0), "seed": 3}
    whole = take(three_scenes, 12, **options)
    assert_same(take(three_scenes, 12, **options), whole)
    assert_same(take(three_scenes, 12 - start, start_step=start, **options), whole[start:])


def test_seeds_differ(three_scenes):
    first, second = (take(three_scenes, 3, seed=seed) for seed in (0, 1))
    assert any((a["image"] != b["image"]).any() for a, b in zip(first, second, strict=True))


def test_an_epoch_visits_each_rendering_once(make):
    manifest = make({scene: [noise(i)] * 2 for i, scene in enumerate("abcde")})
    batches = take(manifest, 10, seed=7)
    epochs = np.concatenate([batch["mos"] for batch in batches]).reshape(2, 10)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), manifest.mos)
    assert (epochs[0] != epochs[1]).any()


def test_the_pair_is_any_other_rendering_of_the_scene(make):
    manifest = make({scene: [noise(i)] * 3 for i, scene in enumerate("ab")})
    seen = set()
    for batch in take(manifest, 60):
        seen |= set(zip(batch["mos"].tolist(), batch["pair_mos"].tolist(), strict=True))
    expected = {
        (10.0 * (i + 1), 10.0 * (j + 1))
        for i in range(6)
        for j in range(6)
        if i != j and i // 3 == j // 3
    }
    assert seen == expected


def test_a_lone_rendering_is_its_own_pair(make):
    for batch in take(make({"a": [noise(0)], "b": [noise(1)]}), 3):
        np.testing.assert_array_equal(batch["image"], batch["pair"])
        np.testing.assert_array_equal(batch["mos"], batch["pair_mos"])


# === Which pixels ===


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 1.5)])
def test_both_pictures_have_the_same_crop_and_flip(make, scale):
    bright = [noise(i, 48, 64) // 2 * 2 for i in range(3)]
    manifest = make({s: [b, b // 2] for s, b in zip("abc", bright, strict=True)})
    for batch in take(manifest, 12, scale=scale):
        for image, pair, mos in zip(batch["image"], batch["pair"], batch["mos"], strict=True):
            bright_first = (mos / 10) % 2 == 1
            first, second = (image, pair) if bright_first else (pair, image)
            np.testing.assert_allclose(second, 0.5 * first, atol=1e-6)


def test_crops_are_windows_of_the_picture(make):
    """Every crop at scale 1 is a window, bit by bit, and all places and both flips occur."""
    source = coordinates(37, 45)
    tops, lefts, flips = set(), set(), set()
    for batch in take(make({"a": [source]}), 60, batch_size=4):
        crops = np.round(batch["image"] * 255).astype("uint8")
        np.testing.assert_allclose(batch["image"] * 255, crops, atol=1e-4)
        for crop in crops:
            flipped = crop[0, 0, 1] > crop[0, -1, 1]
            upright = crop[:, ::-1] if flipped else crop
            top, left, _ = upright[0, 0]
            np.testing.assert_array_equal(upright, source[top : top + 32, left : left + 32])
            tops.add(int(top))
            lefts.add(int(left))
            flips.add(bool(flipped))
    assert tops == set(range(37 - 32 + 1))
    assert lefts == set(range(45 - 32 + 1))
    assert flips == {True, False}


def test_scale_is_drawn_from_its_range(make):
    """Reduced by 0.5 to 1: the windows are 32 to 64 pixels, as the slope of the rows tells."""
    manifest = make({"a": [coordinates(100, 100)]})
    windows = []
    for batch in take(manifest, 30, batch_size=4, scale=(0.5, 1.0)):
        rows = batch["image"][:, 8:-8, :, 0].mean(axis=2) * 255
        slope = np.polyfit(np.arange(rows.shape[1]), rows.T, 1)[0]
        windows += list(32 * slope)
    assert 31.5 < min(windows) < 36
    assert 58 < max(windows) < 64.5


def test_small_pictures_are_enlarged(make):
    """The whole short side fills the crop where the picture is smaller than it."""
    manifest = make({"a": [coordinates(32, 40)]})
    (batch,) = take(manifest, 1, crop=64)
    rows = batch["image"][..., 0] * 255
    assert rows.shape == (2, 64, 64)
    np.testing.assert_allclose(rows[:, 0], 0, atol=1e-4)
    np.testing.assert_allclose(rows[:, -1], 31, atol=1e-4)
    assert (np.diff(rows, axis=1) >= -1e-4).all()


def test_pictures_of_several_sizes(make):
    """Each comes out as it went in."""
    sizes = [(40, 33), (32, 70), (55, 55)]
    manifest = make(
        {s: [coordinates(*size, i)] for i, (s, size) in enumerate(zip("abc", sizes, strict=True))}
    )
    store = training_pictures(manifest)
    for number, size in enumerate(sizes):
        np.testing.assert_array_equal(store.get(number), coordinates(*size, number))
    for batch in take(manifest, 6):
        numbers = np.round(batch["image"][..., 2] * 255)
        expected = np.broadcast_to((batch["mos"] / 10 - 1)[:, None, None], numbers.shape)
        np.testing.assert_array_equal(numbers, expected)


def test_long_sides_are_reduced(make):
    manifest = make({"a": [np.full((90, 120, 3), 77, np.uint8)]})
    picture = training_pictures(manifest, max_side=60).get(0)
    np.testing.assert_array_equal(picture, np.full((45, 60, 3), 77))


def test_shares_of_devices_make_up_whole_batches(three_scenes):
    """Two processes with two devices each, that go on at the fourth step."""
    whole = take(three_scenes, 2, batch_size=4, start_step=3)
    shares = [
        take(
            three_scenes, 4, batch_size=4, start_step=3, context=tf.distribute.InputContext(2, i, 4)
        )
        for i in (0, 1)
    ]
    for step, batch in enumerate(whole):
        of_step = [share for own in shares for share in own[2 * step : 2 * step + 2]]
        for name, values in batch.items():
            together = np.concatenate([share[name] for share in of_step])
            np.testing.assert_array_equal(together, values, err_msg=name)


# === Whole pictures ===


def test_whole_scenes(make):
    scenes = {"a": [noise(0), noise(1), noise(2)], "b": [noise(3, 33, 47)]}
    manifest = make(scenes)
    first, second = whole_scenes(manifest, long_side=512)
    for batch, pictures in ((first, scenes["a"]), (second, scenes["b"])):
        np.testing.assert_allclose(batch["image"], np.stack(pictures) / 255, atol=1e-6)
        following = pictures[1:] + pictures[:1]
        np.testing.assert_allclose(batch["pair"], np.stack(following) / 255, atol=1e-6)
    np.testing.assert_array_equal(first["mos"], [10, 20, 30])
    np.testing.assert_array_equal(first["pair_mos"], [20, 30, 10])
    np.testing.assert_array_equal(second["pair_mos"], [40])
    (reduced, _) = whole_scenes(manifest, long_side=36)
    assert reduced["image"].shape[1:] == (32, 38, 3)  # the short side never falls below 32


# === What is refused ===


def test_scenes_of_two_sizes(make):
    manifest = make({"a": [noise(0), noise(1)], "b": [noise(2), noise(3, 40, 47)]})
    with pytest.raises(DataError) as caught:
        training_pictures(manifest)
    for part in (str(manifest.source), "b0.png", "b1.png", "'b'"):
        assert part in str(caught.value)


def test_unreadable_picture(make):
    manifest = make({"a": [noise(0)]})
    manifest.renderings[0].file.write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"a0\.png"):
        training_pictures(manifest)


def test_a_picture_damaged_after_the_start_is_named(make):
    manifest = make({"a": [noise(0)]})
    pictures = training_pictures(manifest)
    manifest.renderings[0].file.write_bytes(b"no picture")
    pairs = training_pairs(manifest, pictures, batch_size=1, crop=32)
    with pytest.raises(tf.errors.OpError):
        next(iter(pairs))
    assert isinstance(pictures.failure, ImageError) and "a0.png" in str(pictures.failure)


# === Memory and files ===


def test_what_stays_in_memory_is_bounded_and_the_last_used(make):
    manifest = make({name: [noise(i)] for i, name in enumerate("abcd")})
    files = [rendering.file for rendering in manifest.renderings]
    each = 40 * 48 * 3
    pictures = Pictures(files, max_side=512, cache_bytes=2 * each)
    first = pictures.get(0)
    assert pictures.get(0) is first
    pictures.get(1)
    pictures.get(0)
    pictures.get(2)  # takes the place of 1
    assert pictures.get(0) is first
    files[1].unlink()
    with pytest.raises(ImageError):
        pictures.get(1)
    assert sum(array.nbytes for array in pictures._cache.values()) <= 2 * each


@pytest.mark.parametrize("max_side", [40, 64, 1024])
def test_size_is_that_of_the_picture_read(tmp_path, max_side):
    """Also of what is turned by EXIF and what Pillow cannot open."""
    rng = np.random.default_rng(0)
    files = []
    for number, (height, width) in enumerate([(48, 64), (33, 300), (500, 34), (121, 77)]):
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        exif = Image.Exif()
        exif[0x0112] = 6 if number % 2 else 1
        files.append(tmp_path / f"{number}.jpg")
        Image.fromarray(pixels).save(files[-1], exif=exif)
    files.append(tmp_path / "deep.tif")
    deep = rng.integers(0, 65536, (70, 50, 3), np.uint16)
    tifffile.imwrite(files[-1], deep, photometric="rgb", compression="zstd")
    pictures = Pictures(files, max_side)
    for index in range(len(files)):
        assert pictures.size(index) == pictures.get(index).shape[:2]


def test_examples_are_read_as_they_are_needed(make):
    """A set that does not fit the memory trains all the same, from the same pairs."""
    manifest = make({s: [noise(10 * i + j) for j in range(3)] for i, s in enumerate("abc")})
    files = [rendering.file for rendering in manifest.renderings]
    small = Pictures(files, max_side=1024, cache_bytes=0)
    pairs = training_pairs(manifest, small, batch_size=2, crop=32)
    assert_same(list(islice(pairs.as_numpy_iterator(), 6)), take(manifest, 6))
