"""QD-net and its ablations in the interface of the other methods: trained here, or as a preset."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qdnet_keras.data.manifest import Manifest, Rendering
from qdnet_keras.evaluation.methods.base import Images
from qdnet_keras.evaluation.methods.features import FeatureStore
from qdnet_keras.files import read_table
from qdnet_keras.model.presets import WEIGHTS, preset_folder
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.model.scoring import score_files, score_pixels
from qdnet_keras.training.config import Config
from qdnet_keras.training.loop import train


def pictures_seen(preset: str) -> frozenset[tuple[str, str]]:
    """File name and scene of the pictures that a preset learnt from, as far as that is recorded.

    The record is the `splits.csv` of the training that wrote it; released presets have none.
    """
    splits = preset_folder(preset).parent / "splits.csv"
    if not splits.is_file():
        return frozenset()
    rows = read_table(splits)
    return frozenset((row["file"], row["scene"]) for row in rows if row["split"] != "test")


class TrainedQDNet:
    """QD-net, trained by `fit`.

    Args:
        name: See `Method`.
        config: Of the training, see `qdnet_keras.training.config`.
        run: Folder of the training. A training that was stopped there goes on.
    """

    note = ""
    learns = True

    def __init__(self, name: str, config: Config, run: Path):
        self.name = name
        self.config = config
        self.run = run
        self.seen = pictures_seen(config.train.init) if config.train.init else frozenset()
        self.model: QDNet | None = None

    @property
    def settings(self) -> dict[str, Any]:
        return {"config": self.config.model_dump(mode="json")}

    def fit(
        self,
        images: Images,
        mos: ArrayLike,
        scenes: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
    ) -> "TrainedQDNet":
        """See `Method.fit`. Pairs come from scenes, validation groups from the pictures given.

        The checkpoints are removed at the end; `run/preset` stays.
        """
        scenes = scenes or [str(image) for image in images]
        rows = zip(images, np.asarray(mos, float), scenes, groups or scenes, strict=True)
        renderings = (
            Rendering(Path(file), float(score), None, scene, group, None, None)
            for file, score, scene, group in rows
        )
        manifest = Manifest(tuple(renderings), self.run)
        resume = (self.run / "config.yaml").exists()
        self.model = train(manifest, self.config, self.run, resume=resume)
        shutil.rmtree(self.run / "checkpoint", ignore_errors=True)
        return self

    def predict(self, images: Images) -> np.ndarray:
        """See `Method.predict`."""
        if self.model is None:
            raise ValueError(f"{self.name} has not been fitted")
        renderings = (Rendering(Path(file), 0.0, None, "", "", None, None) for file in images)
        manifest = Manifest(tuple(renderings), self.run)
        return score_files(self.model, manifest).astype(np.float64)


class FixedQDNet:
    """A preset as it is; `fit` does nothing. Scores are kept like features.

    Args:
        preset: Name or folder.
        store: See `qdnet_keras.evaluation.methods.base.Baseline`.

    Raises:
        PresetError: If there is no such preset.
    """

    in_process = True
    learns = False

    def __init__(self, preset: str, store: FeatureStore | None = None):
        folder = preset_folder(preset)
        self.preset = preset
        self.name = f"qdnet@{folder.parent.name if folder.name == 'preset' else folder.name}"
        self.note = f"{self.name} is the preset {preset} as it is, not trained in this evaluation."
        self.seen = pictures_seen(preset)
        self.store = store or FeatureStore()
        self._digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()[:12]
        self._model: QDNet | None = None

    @property
    def cache_name(self) -> str:
        return f"qdnet-{self._digest}"

    @property
    def settings(self) -> dict[str, Any]:
        return {"features": self.cache_name}

    def describe(self, pixels: np.ndarray) -> np.ndarray:
        """The MOS that the network expects of a picture, float32 `[1]`."""
        self._model = self._model or QDNet.from_preset(self.preset)
        return np.array([score_pixels(self._model, pixels).mos], np.float32)

    def fit(
        self,
        images: Images,
        mos: ArrayLike,
        scenes: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
    ) -> "FixedQDNet":
        """Does nothing."""
        return self

    def predict(self, images: Images) -> np.ndarray:
        """See `Method.predict`."""
        return self.store.get(self, images)[:, 0].astype(np.float64)
