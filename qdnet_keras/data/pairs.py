"""Pairs of renderings of one scene as a `tf.data` pipeline.

Every example is a function of (seed, example number) alone, so a training that stops at any
step continues with exactly the examples it would have seen.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import tensorflow as tf

from qdnet_keras.data.manifest import Manifest
from qdnet_keras.data.pictures import Pictures
from qdnet_keras.errors import DataError
from qdnet_keras.photos.files import read_photo, working_copy


def training_pictures(manifest: Manifest, max_side: int = 1024) -> Pictures:
    """The manifest's pictures, long sides reduced to `max_side`, for `training_pairs`.

    Raises:
        DataError: If the renderings of a scene differ in size.
        ImageError: If a picture is not there or is none.
    """
    pictures = Pictures([rendering.file for rendering in manifest.renderings], max_side)
    for scene, members in manifest.by_scene().items():
        sizes = [pictures.size(member) for member in members]
        for other, size in zip(members, sizes, strict=True):
            if size != sizes[0]:
                here, there = (manifest.renderings[i].file.name for i in (members[0], other))
                raise DataError(
                    f"{manifest.source}: {here} and {there} show the scene {scene!r} at different "
                    "sizes; crop them alike or give them different scenes."
                )
    return pictures


class Draws:
    """What is random about examples, by their number.

    Args:
        manifest: Renderings to draw from; each is x once an epoch, x̃ is another of its scene, or
            itself when it is alone.
        seed: Of order, partners and windows.
    """

    def __init__(self, manifest: Manifest, seed: int):
        self.count = len(manifest)
        self.seed = seed
        self.scenes = manifest.by_scene()
        self.scene_of = [rendering.scene for rendering in manifest.renderings]
        self._order = lru_cache(maxsize=4)(self._shuffled)

    def example(self, number: int) -> tuple[int, int, np.ndarray]:
        """Index of x, index of x̃, and four numbers in 0..1: scale, top, left, flip."""
        epoch, position = divmod(number, self.count)
        index = int(self._order(epoch)[position])
        draws = np.random.default_rng([self.seed, 1, number]).random(5)
        members = self.scenes[self.scene_of[index]]
        others = len(members) - 1
        if not others:
            return index, index, draws[1:]
        place = int(draws[0] * others)
        return index, members[place + (place >= members.index(index))], draws[1:]

    def _shuffled(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, 0, epoch]).permutation(self.count)


def training_pairs(
    manifest: Manifest,
    pictures: Pictures,
    *,
    batch_size: int,
    crop: int,
    scale: Sequence[float] = (1.0, 1.0),
    seed: int = 0,
    start_step: int = 0,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Endless batches of pairs, same crop and flip for both pictures of a pair.

    Args:
        manifest: See `Draws`.
        pictures: Of the manifest, see `training_pictures`.
        batch_size: Pairs a batch.
        crop: Side of the square crops, pixels.
        scale: Range of the factor by which a crop is reduced (< 1) or enlarged (> 1) from its
            picture: a window of `crop / scale` pixels, at most the short side, becomes the crop.
        seed: See `Draws`.
        start_step: Number of batches to skip (those already trained on).
        context: Of a strategy: batches are the shares that its replicas have of whole batches,
            for one of its input pipelines.

    Returns:
        Batches of `{"image", "pair"}` float32 `(batch_size, crop, crop, 3)` in 0..1 and
        `{"mos", "pair_mos"}` float32 `(batch_size,)`.
    """
    context = context or tf.distribute.InputContext()
    draws = Draws(manifest, seed)
    mos = manifest.mos.astype(np.float32)

    def read(number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        index, partner, places = draws.example(int(number))
        both = _windows(pictures.get(index), pictures.get(partner), crop, scale, places)
        return both, mos[[index, partner]]

    def example(number: tf.Tensor) -> dict[str, tf.Tensor]:
        # Equal numbers give equal pairs, so calls may run side by side.
        outputs = [tf.uint8, tf.float32]
        both, labels = tf.numpy_function(read, [number], outputs, stateful=False)
        both = tf.cast(tf.ensure_shape(both, [2, None, None, 3]), tf.float32) / 255.0
        both = tf.cond(
            tf.equal(tf.shape(both)[1], crop),
            lambda: both,
            lambda: tf.image.resize(both, [crop, crop], antialias=True),
        )
        both = tf.ensure_shape(tf.clip_by_value(both, 0.0, 1.0), [2, crop, crop, 3])
        labels = tf.ensure_shape(labels, [2])
        return {"image": both[0], "pair": both[1], "mos": labels[0], "pair_mos": labels[1]}

    numbers = tf.data.Dataset.counter(tf.cast(start_step * batch_size, tf.int64))
    numbers = numbers.batch(batch_size // context.num_input_pipelines)
    numbers = numbers.shard(context.num_input_pipelines, context.input_pipeline_id).unbatch()
    dataset = numbers.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    share = batch_size // context.num_replicas_in_sync
    return dataset.batch(share, drop_remainder=True).prefetch(2)


def _windows(
    first: np.ndarray, second: np.ndarray, crop: int, scale: Sequence[float], places: np.ndarray
) -> np.ndarray:
    """The same square of both pictures, flipped alike, uint8 `[2, window, window, 3]`."""
    height, width = first.shape[:2]
    size, top, left, flip = places
    window = min(round(crop / (scale[0] + size * (scale[1] - scale[0]))), height, width)
    row, column = int(top * (height - window + 1)), int(left * (width - window + 1))
    box = slice(row, row + window), slice(column, column + window)
    both = np.stack([first[box], second[box]])
    return both if flip < 0.5 else both[:, :, ::-1]


def whole_scenes(manifest: Manifest, long_side: int) -> Iterator[dict[str, np.ndarray]]:
    """Whole pictures, one scene a batch, in the form of `training_pairs`.

    The partner of a rendering is the next of its scene. Sizes are kept, long sides reduced to
    `long_side`.
    """
    for members in manifest.by_scene().values():
        pictures = [read_photo(manifest.renderings[i].file).srgb for i in members]
        image = np.stack([working_copy(picture, long_side) for picture in pictures])
        mos = manifest.mos[members]
        yield {
            "image": image,
            "pair": np.roll(image, -1, axis=0),
            "mos": mos,
            "pair_mos": np.roll(mos, -1),
        }
