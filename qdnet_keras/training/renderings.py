"""What a network renders while it learns: pictures for TensorBoard, and for the run's folder.

renderings  rows of a picture, its reconstruction G(n, z), another rendering of its scene, and the
            picture at that one's quality, G(n, z̃)
ladder      one picture at qualities of others, their scores ascending
"""

import io
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from PIL import Image

from qdnet_keras.data.manifest import Manifest
from qdnet_keras.data.pairs import whole_scenes
from qdnet_keras.files import write_bytes
from qdnet_keras.model.qdnet import Encoding, QDNet
from qdnet_keras.training.release import as_released

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCENES, STEPS = 3, 5
LONG_SIDE = 256  # pixels
GAP = 6


class Renderings(keras.callbacks.Callback):
    """Draws every so many epochs, and after the last one, of scenes that are not learnt from.

    Args:
        run: Folder of the run: `pictures/*.png`, and `tensorboard/pictures`.
        training, validation: As for the training.
        every: Epochs.
    """

    def __init__(self, run: Path, training: Manifest, validation: Manifest, every: int):
        super().__init__()
        self.run = run
        self.training = training
        self.validation = validation
        self.every = every

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        done = epoch + 1
        if done % self.every and done != self.params["epochs"]:
            return
        with as_released(self.model, self.training):
            drawn = draw(self.model, self.validation)
        show(self.run, drawn, done)


def show_scores(run: Path, figure: "Figure") -> None:
    """Puts the figure of scores and labels into the run as `scores.png`, and into TensorBoard."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    write_bytes(run / "scores.png", file.getvalue())
    _to_tensorboard(run, {"scores": np.asarray(Image.open(file).convert("RGB"))}, 0)


def show(run: Path, drawn: dict[str, np.ndarray], epoch: int) -> None:
    """Puts pictures, uint8 `[height, width, 3]` by name, where TensorBoard and people look."""
    _to_tensorboard(run, drawn, epoch)
    for name, picture in drawn.items():
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        write_bytes(run / "pictures" / f"{name}_{epoch:03}.png", file.getvalue())


def _to_tensorboard(run: Path, drawn: dict[str, np.ndarray], epoch: int) -> None:
    writer = tf.summary.create_file_writer(str(run / "tensorboard" / "pictures"))
    with writer.as_default():
        for name, picture in drawn.items():
            tf.summary.image(name, picture[None], step=epoch)
    writer.close()


def draw(model: QDNet, validation: Manifest) -> dict[str, np.ndarray]:
    """`{"renderings", "ladder"}`, uint8 `[height, width, 3]`, of the first scenes."""
    scenes = list(islice(whole_scenes(validation, LONG_SIDE), SCENES))
    encodings = [model.encode(scene["image"]) for scene in scenes]
    rows = [_row(model, *both) for both in zip(scenes, encodings, strict=True)]
    z = ops.concatenate([encoding.loc for encoding in encodings])
    order = np.argsort(np.asarray(model.scorer(z)))
    steps = order[np.linspace(0, len(order) - 1, STEPS).round().astype(int)]
    ladder = _ladder(model, scenes[0]["image"][:1], encodings[0], ops.take(z, steps, axis=0))
    return {"renderings": _below(rows), "ladder": ladder}


def _row(model: QDNet, scene: dict[str, np.ndarray], encoding: Encoding) -> np.ndarray:
    contents, z = [content[:1] for content in encoding.contents], encoding.loc
    partner = z[1:2] if len(z) > 1 else z  # as `whole_scenes` pairs them
    own, swapped = (np.asarray(model.decoder(contents, latent))[0] for latent in (z[:1], partner))
    return _side_by_side([scene["image"][0], own, scene["pair"][0], swapped])


def _ladder(model: QDNet, image: np.ndarray, encoding: Encoding, qualities: Any) -> np.ndarray:
    contents = [content[:1] for content in encoding.contents]
    pictures = []
    for quality in qualities:
        change = model.decoder.change(contents, encoding.loc[:1], quality[None])
        pictures.append(np.asarray(model.rerender(image, change, encoding.moments[:1]))[0])
    return _side_by_side(pictures)


def _side_by_side(pictures: list[np.ndarray]) -> np.ndarray:
    gap = np.ones((len(pictures[0]), GAP, 3), "float32")
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return np.round(np.clip(np.concatenate(parts, axis=1), 0.0, 1.0) * 255.0).astype(np.uint8)


def _below(rows: list[np.ndarray]) -> np.ndarray:
    width = max(row.shape[1] for row in rows)
    filled = [
        np.pad(row, ((0, GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255)
        for row in rows
    ]
    return np.concatenate(filled)[:-GAP]
