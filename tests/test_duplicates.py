from dataclasses import replace
from importlib import resources
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qdnet_keras.data.duplicates import (
    BITS,
    LIMIT,
    NearDuplicate,
    merge_groups,
    near_duplicates,
    perceptual_hash,
)
from qdnet_keras.data.manifest import Manifest, Rendering
from qdnet_keras.photos.files import read_photo

SAMPLES = sorted(Path(str(resources.files("qdnet_keras") / "samples")).glob("*.jpg"))


def found(*pictures):
    hashes = [perceptual_hash(np.ascontiguousarray(pixels)) for pixels in pictures]
    return near_duplicates(np.array(hashes), [str(k) for k in range(len(hashes))])


@pytest.fixture(scope="module")
def photographs():
    return {path.stem: read_photo(path).pixels for path in SAMPLES}


def changed(pixels, tmp_path):
    image = Image.fromarray(pixels)
    image.save(tmp_path / "worse.jpg", quality=20)
    yield read_photo(tmp_path / "worse.jpg").pixels
    yield np.asarray(image.resize((201, 147), Image.Resampling.BILINEAR))
    yield (255 * (pixels / 255) ** 1.8).astype(np.uint8)
    yield pixels[:, ::-1]
    yield pixels.astype(np.uint16) * 257
    yield np.asarray(image.convert("L").convert("RGB"))
    yield np.asarray(image)[4:-4, 4:-4]


def test_changed_copies_are_found(photographs, tmp_path):
    pixels = photographs["dog_reinhard"]
    for copy in changed(pixels, tmp_path):
        assert len(found(pixels, copy)) == 1


def test_renderings_of_a_scene_are_found_and_other_scenes_are_not(photographs):
    close = {
        (a, b): bool(found(photographs[a], photographs[b]))
        for a, b in combinations(sorted(photographs), 2)
    }
    scene = {name: name.split("_")[0] for name in photographs}
    assert not [pair for pair, near in close.items() if near and scene[pair[0]] != scene[pair[1]]]
    same = [near for (a, b), near in close.items() if scene[a] == scene[b]]
    assert sum(same) >= len(same) / 2  # burnt or black renderings hardly resemble the others


def test_random_bits_are_far_apart():
    hashes = np.random.default_rng(0).integers(0, 2, (400, BITS))
    assert near_duplicates(hashes, [str(k) for k in range(400)]) == []


def test_labels_and_distances():
    first = np.random.default_rng(0).integers(0, 2, BITS)
    near, far = first.copy(), first.copy()
    near[:LIMIT] = 1 - near[:LIMIT]
    far[: LIMIT + 1] = 1 - far[: LIMIT + 1]
    hashes = np.array([first, near, far])
    assert near_duplicates(hashes[:2], ["a", "b"]) == [NearDuplicate(0, 1, LIMIT)]
    assert near_duplicates(hashes[:2], ["a", "a"]) == []
    assert near_duplicates(hashes[[0, 2]], ["a", "b"]) == []


def test_groups_of_a_chain_become_one():
    renderings = tuple(
        Rendering(Path(f"{k}.png"), 50.0, None, f"s{k}", group, None, None)
        for k, group in enumerate(["a", "b", "c", "d", "b"])
    )
    manifest = Manifest(renderings, Path("set.csv"))
    merged = merge_groups(manifest, [NearDuplicate(1, 2, 0), NearDuplicate(2, 3, 5)])
    assert [r.group for r in merged.renderings] == ["a", "b", "b", "b", "b"]
    originals = zip(merged.renderings, renderings, strict=True)
    assert all(replace(one, group=other.group) == other for one, other in originals)
    assert merge_groups(manifest, []) == manifest
