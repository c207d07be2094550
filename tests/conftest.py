"""A tiny network saved as a preset, small photographs on disk, a fake server, for all tests."""

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands have it

EXPORTED_SIDE = 128


@pytest.fixture(scope="session")
def tiny_preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a preset with a toy encoder, random weights and a random bank."""
    import keras
    from toy_encoder import toy_encoder

    from qdnet_keras import QDNet

    keras.utils.set_random_seed(0)
    model = QDNet(
        toy_encoder(),
        latent_dim=4,
        posterior_units=8,
        scorer_units=(8, 8, 8),
        decoder_width=16,
        bank_size=8,
    )
    model.build()
    model.fill_bank(np.random.default_rng(0).standard_normal((8, 4)))
    folder = tmp_path_factory.mktemp("preset")
    model.save_to_preset(folder)
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small colourful photograph: `photo("a.jpg", size=(96, 64), seed=0)` → its path.

    `size` is width and height; the suffix tells the format; other keywords go to Pillow's `save`.
    """

    def write(
        name: str | Path, size: tuple[int, int] = (96, 64), seed: int = 0, **options: object
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, **options)
        return path

    return write


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder `qdnet` with the released network as version 1, whose working copies are small.

    All processes of a parallel run share it: the first that comes makes it.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    out = shared / "models" / "qdnet"
    with open(shared / "export.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (out / "1").exists():
            from qdnet_keras import QDNet
            from qdnet_keras.defaults import DEFAULT_PRESET
            from qdnet_keras.export.saved_model import export

            export(QDNet.from_preset(DEFAULT_PRESET), out, long_side=EXPORTED_SIDE)
    return out


@pytest.fixture
def serving() -> Iterator[Any]:
    """A `FakeServing` for one test."""
    from fake_serving import FakeServing

    server = FakeServing()
    yield server
    server.stop()
