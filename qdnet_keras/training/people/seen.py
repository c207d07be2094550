"""What an encoder that does not learn says of pictures, computed once and kept on disk."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import keras
import numpy as np
import tensorflow as tf

from qdnet_keras.data.manifest import Manifest
from qdnet_keras.model import graphs
from qdnet_keras.model.decoder import GridDecoder
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.model.scoring import BATCH, same_size_batches
from qdnet_keras.photos.files import from_float, read_photo, to_float
from qdnet_keras.synthesis.edits import apply_edits, draw_edits
from qdnet_keras.training.people.config import PeopleDataSection
from qdnet_keras.training.people.rows import Rows

MIN_SIDE = 32  # pixels, of a view
CONTENTS = range(GridDecoder.LAST_STAGE, 6)  # stages that the decoder takes tones from


def stage_widths(model: QDNet) -> list[int]:
    """How many statistics the posterior sees of each stage."""
    return [int(layer.moving_mean.shape[0]) for layer in model.posterior.standardise]


def split_stages(model: QDNet, statistics: np.ndarray) -> list[np.ndarray]:
    """Statistics `[count, all]` by stage, as the posterior takes them."""
    return np.split(statistics, np.cumsum(stage_widths(model))[:-1], axis=1)


def see_pictures(
    model: QDNet, manifest: Manifest, folder: Path, long_side: int, seed: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Statistics of all pictures of a set, and of another view of each, see `other_view`.

    Returns:
        Two lists of float32 `[count, channels]`, an item a stage.

    Raises:
        ImageError: If a picture cannot be read.
    """
    width = sum(stage_widths(model))
    columns = dict.fromkeys(("statistics", "views"), ((width,), "float32"))
    rows = Rows(folder, len(manifest), columns)

    @tf.function(input_signature=[graphs.PICTURES])
    def see(image: tf.Tensor) -> tf.Tensor:
        return tf.concat(model.split(image).statistics, axis=-1)

    progress = keras.utils.Progbar(rows.count, unit_name="picture")
    progress.update(rows.done)
    files = [rendering.file for rendering in manifest.renderings[rows.done :]]
    for batch in same_size_batches(files, long_side):
        other = other_view(batch, np.random.default_rng([seed, rows.done]))
        rows.add({"statistics": see(batch).numpy(), "views": see(other).numpy()})
        progress.update(rows.done)
    seen, views = (split_stages(model, np.array(rows.arrays[name])) for name in columns)
    return seen, views


def other_view(pictures: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The pictures turned, made smaller and compressed: what people would like as much.

    All are turned by the same quarter turns and made smaller by the same factor, down to half;
    each is compressed as JPEG of its own quality, 60 at least.

    Args:
        pictures: float32 `[count, height, width, 3]` in 0..1.
    """
    turns, smaller = int(random.integers(4)), random.uniform(0.5, 1.0)
    return np.stack([_view(picture, turns, smaller, random) for picture in pictures])


def _view(
    picture: np.ndarray, turns: int, smaller: float, random: np.random.Generator
) -> np.ndarray:
    size = [max(MIN_SIDE, round(smaller * side)) for side in picture.shape[1::-1]]
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    turned = cv2.cvtColor(np.rot90(from_float(small, np.uint8), turns).copy(), cv2.COLOR_RGB2BGR)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(60, 100))]
    file = cv2.imencode(".jpg", turned, quality)[1]
    decoded = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))
    return to_float(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


class Spoilt:
    """Photographs in several versions: themselves, and spoilt by deliberate edits.

    Attributes:
        count, versions: Of photographs, and of rows that each has.
        pictures: uint8 `[rows, side, side, 3]`, on disk.
        contents: n of the stages `CONTENTS`, float16, on disk.
        moments: μ ⊕ σ of the pictures, `[rows, 6]`.
        strength: Sum of the strengths of the edits, `[count, versions]`; 0 in the first column.
        statistics: What the posterior sees, `[rows, channels]` a stage.
    """

    def __init__(self, model: QDNet, rows: Rows, versions: int):
        arrays = rows.arrays
        self.count, self.versions = rows.count // versions, versions
        self.pictures = arrays["pictures"]
        self.contents = [arrays[f"contents_{stage}"] for stage in CONTENTS]
        self.moments = np.array(arrays["moments"])
        self.strength = np.array(arrays["strength"]).reshape(self.count, versions)
        self.statistics = split_stages(model, np.array(arrays["statistics"]))


def see_spoilt(
    model: QDNet, photographs: Sequence[Path], folder: Path, options: PeopleDataSection, seed: int
) -> Spoilt:
    """Spoils photographs and sees what the network says of every version.

    Raises:
        ImageError: If a photograph cannot be read.
        OutputError: If the disk has no room: a photograph of 384 pixels in three versions needs
            2.1 MB.
    """

    @tf.function(input_signature=[graphs.PICTURES])
    def see(image: tf.Tensor) -> dict[str, tf.Tensor]:
        split = model.split(image)
        seen = {f"contents_{i}": tf.cast(split.contents[i], tf.float16) for i in CONTENTS}
        return seen | {
            "moments": split.moments,
            "statistics": tf.concat(split.statistics, axis=-1),
        }

    shapes = _row_shapes(see, options.side)
    rows = Rows(folder, len(photographs) * options.versions, shapes)
    progress = keras.utils.Progbar(len(photographs), unit_name="photograph")
    progress.update(rows.done // options.versions)
    for pictures, strength in _versions(photographs, rows.done // options.versions, options, seed):
        seen = {name: values.numpy() for name, values in see(to_float(pictures)).items()}
        rows.add({**seen, "pictures": pictures, "strength": strength})
        progress.update(rows.done // options.versions)
    return Spoilt(model, rows, options.versions)


def spoil(
    file: Path, number: int, options: PeopleDataSection, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The versions of a photograph, uint8 `[versions, side, side, 3]`, and their strengths.

    Equal seeds and numbers spoil alike.
    """
    square = (options.side, options.side)
    pixels = read_photo(file).srgb
    first = to_float(cv2.resize(pixels, square, interpolation=cv2.INTER_AREA))
    versions, strength = [from_float(first, np.uint8)], [0.0]
    for version in range(1, options.versions):
        random = np.random.default_rng([seed, number, version])
        edits = draw_edits(random)
        versions.append(from_float(apply_edits(first, edits, random), np.uint8))
        strength.append(sum(edit.strength for edit in edits))
    return np.stack(versions), np.array(strength, "float32")


def _versions(
    photographs: Sequence[Path], done: int, options: PeopleDataSection, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of `BATCH` photographs at a time, from the photograph `done` on."""
    with ThreadPoolExecutor() as pool:
        for start in range(done, len(photographs), BATCH):
            numbers = range(start, min(start + BATCH, len(photographs)))
            made = pool.map(lambda n: spoil(photographs[n], n, options, seed), numbers)
            pictures, strength = zip(*made, strict=True)
            yield np.concatenate(pictures), np.concatenate(strength)


def _row_shapes(see: tf.types.experimental.GenericFunction, side: int) -> dict:
    seen = see(np.zeros((1, side, side, 3), "float32"))
    shapes = {name: (tuple(v.shape[1:]), v.dtype.as_numpy_dtype) for name, v in seen.items()}
    return shapes | {"pictures": ((side, side, 3), "uint8"), "strength": ((), "float32")}
