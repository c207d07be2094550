import os
import time
from multiprocessing import active_children

import numpy as np
import pytest

from qdnet_keras.errors import ImageError
from qdnet_keras.evaluation.methods import features
from qdnet_keras.evaluation.methods.brisque import Brisque
from qdnet_keras.evaluation.methods.features import FeatureStore


class Mean:
    """The mean colour, and how often it was asked for."""

    cache_name = "mean"
    in_process = True

    def __init__(self):
        self.calls = 0

    def describe(self, pixels):
        self.calls += 1
        return pixels.mean(axis=(0, 1))


def test_each_picture_is_described_once(photo, tmp_path):
    files = [photo(f"{k}.png", seed=k) for k in range(3)]
    method = Mean()
    first = FeatureStore(tmp_path / "features").get(method, files[:2])
    assert first.shape == (2, 3) and first.dtype == np.float32
    again = FeatureStore(tmp_path / "features").get(method, [files[2], files[0], files[1]])
    assert method.calls == 3
    np.testing.assert_array_equal(again[1:], first)
    assert os.listdir(tmp_path / "features") == ["mean.npz"]


def test_a_changed_file_is_described_anew(photo, tmp_path):
    store, method = FeatureStore(tmp_path / "features"), Mean()
    path = photo("a.png", seed=1)
    before = store.get(method, [path])
    photo("a.png", seed=2)
    os.utime(path, ns=(time.time_ns(), time.time_ns() + 10**9))
    assert not np.allclose(store.get(method, [path]), before)


def test_another_version_is_not_trusted(photo, tmp_path, monkeypatch):
    path, method = photo("a.png"), Mean()
    FeatureStore(tmp_path / "features").get(method, [path])
    monkeypatch.setattr(features, "__version__", "another")
    FeatureStore(tmp_path / "features").get(method, [path])
    assert method.calls == 2


def test_pictures_that_cannot_be_read_do_not_stop_the_others(photo, tmp_path):
    good = [photo(f"{k}.png", seed=k) for k in range(2)]
    bad = [tmp_path / "text.png", tmp_path / "empty.png"]
    bad[0].write_text("no picture")
    bad[1].write_bytes(b"")
    method = Mean()
    with pytest.raises(ImageError, match=r"text\.png .* \(and 1 more of 4\)"):
        FeatureStore(tmp_path / "features").get(method, [bad[0], good[0], bad[1], good[1]])
    FeatureStore(tmp_path / "features").get(method, good)
    assert method.calls == 2
    with pytest.raises(ImageError, match=r"gone\.png cannot be read"):
        FeatureStore().get(method, [tmp_path / "gone.png"])


def test_processes_give_the_same_and_end(photo, monkeypatch):
    files = [photo(f"{k}.png", seed=k) for k in range(6)]
    alone = FeatureStore(jobs=1).get(Brisque(), files)
    monkeypatch.setattr(features, "ALONE_S", 0.0)
    seen = []
    store = FeatureStore(jobs=2, progress=lambda *arguments: seen.append(arguments))
    np.testing.assert_allclose(store.get(Brisque(), files), alone, rtol=1e-4, atol=1e-5)
    assert seen == [("brisque", done, 6) for done in range(1, 7)]
    assert 0 < store.seconds_per_picture(Brisque()) < 1
    assert not active_children()
