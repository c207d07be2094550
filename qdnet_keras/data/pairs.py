"""Pairs of renderings of one scene as a `tf.data` pipeline.

Every example is a function of (seed, example number) alone, so a training that stops at any
step continues with exactly the examples it would have seen.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from qdnet_keras.data.manifest import Manifest, Rendering
from qdnet_keras.errors import DataError
from qdnet_keras.photos.files import read_photo, working_copy


@dataclass(frozen=True)
class ImageStore:
    """All pictures of a manifest, decoded once, as one flat buffer.

    Attributes:
        pixels: uint8 `[bytes]`, the pictures one after the other, rows of RGB.
        offsets: int64 `[count]`, where each starts.
        shapes: int32 `[count, 2]`, height and width.
    """

    pixels: tf.Tensor
    offsets: tf.Tensor
    shapes: tf.Tensor

    def get(self, index: tf.Tensor) -> tf.Tensor:
        """Picture `index`, uint8 `[height, width, 3]`."""
        height, width = self.shapes[index, 0], self.shapes[index, 1]
        size = tf.cast(height * width * 3, tf.int64)
        flat = tf.slice(self.pixels, [self.offsets[index]], [size])
        return tf.reshape(flat, [height, width, 3])


def decode_images(manifest: Manifest, max_side: int = 1024) -> ImageStore:
    """Reads every picture of the manifest into memory, long sides reduced to `max_side`.

    Raises:
        ImageError: If a picture cannot be read.
    """

    def decode(rendering: Rendering) -> np.ndarray:
        copy = working_copy(read_photo(rendering.file).srgb, max_side)
        return np.round(copy * 255.0).astype(np.uint8)

    with ThreadPoolExecutor() as pool:
        pictures = list(pool.map(decode, manifest.renderings))
    shapes = np.array([picture.shape[:2] for picture in pictures], np.int32)
    _check_aligned(manifest, shapes)
    sizes = np.array([picture.size for picture in pictures], np.int64)
    pixels = np.empty(sizes.sum(), np.uint8)
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    for offset, picture in zip(offsets, pictures, strict=True):
        pixels[offset : offset + picture.size] = picture.reshape(-1)
    with tf.device("/CPU:0"):
        return ImageStore(tf.constant(pixels), tf.constant(offsets), tf.constant(shapes))


def _check_aligned(manifest: Manifest, shapes: np.ndarray) -> None:
    for scene, members in manifest.by_scene().items():
        for other in members[1:]:
            if (shapes[other] != shapes[members[0]]).any():
                here, there = (manifest.renderings[i].file.name for i in (members[0], other))
                raise DataError(
                    f"{manifest.source}: {here} and {there} show the scene {scene!r} at different "
                    "sizes; crop them alike or give them different scenes."
                )


def _partners(manifest: Manifest) -> tf.RaggedTensor:
    """For each rendering the others of its scene, or itself when it is alone."""
    scenes = manifest.by_scene()
    rows = []
    for index, rendering in enumerate(manifest.renderings):
        others = [other for other in scenes[rendering.scene] if other != index]
        rows.append(others or [index])
    return tf.ragged.constant(rows, dtype=tf.int32)


def training_pairs(
    manifest: Manifest,
    store: ImageStore,
    *,
    batch_size: int,
    crop: int,
    scale: Sequence[float] = (1.0, 1.0),
    seed: int = 0,
    start_step: int = 0,
) -> tf.data.Dataset:
    """Endless batches of pairs, same crop and flip for both pictures of a pair.

    Args:
        manifest: Renderings to draw from; each is x once an epoch, x̃ is another of its scene.
        store: Their decoded pictures.
        batch_size: Pairs a batch.
        crop: Side of the square crops, pixels.
        scale: Range of the factor by which a crop is reduced (< 1) or enlarged (> 1) from its
            picture: a window of `crop / scale` pixels, at most the short side, becomes the crop.
        seed: Seed of order, partners, crops and flips.
        start_step: Number of batches to skip (those already trained on).

    Returns:
        Batches of `{"image", "pair"}` float32 `(batch_size, crop, crop, 3)` in 0..1 and
        `{"mos", "pair_mos"}` float32 `(batch_size,)`.
    """
    count = len(manifest)
    partners = _partners(manifest)
    mos = tf.constant(manifest.mos)

    def example(number: tf.Tensor) -> dict[str, tf.Tensor]:
        epoch, position = number // count, number % count
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count), seed=tf.stack([tf.cast(seed, tf.int64), epoch])
        )
        index = order[position]
        draws = tf.random.stateless_uniform(
            [5], seed=tf.stack([tf.cast(seed, tf.int64) + 1, number])
        )
        others = partners[index]
        partner = others[tf.cast(draws[0] * tf.cast(tf.size(others), tf.float32), tf.int32)]
        image, pair = _crop_pair(store.get(index), store.get(partner), crop, scale, draws[1:])
        return {"image": image, "pair": pair, "mos": mos[index], "pair_mos": mos[partner]}

    dataset = tf.data.Dataset.counter(tf.cast(start_step * batch_size, tf.int64))
    dataset = dataset.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.batch(batch_size, drop_remainder=True).prefetch(2)


def _crop_pair(
    first: tf.Tensor, second: tf.Tensor, crop: int, scale: Sequence[float], draws: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    both = tf.stack([first, tf.ensure_shape(second, [None, None, 3])])
    height, width = tf.shape(both)[1], tf.shape(both)[2]
    factor = scale[0] + draws[0] * (scale[1] - scale[0])
    window = tf.cast(tf.round(crop / factor), tf.int32)
    window = tf.minimum(window, tf.minimum(height, width))
    top = tf.cast(draws[1] * tf.cast(height - window + 1, tf.float32), tf.int32)
    left = tf.cast(draws[2] * tf.cast(width - window + 1, tf.float32), tf.int32)
    both = both[:, top : top + window, left : left + window]
    both = tf.cond(draws[3] < 0.5, lambda: both, lambda: tf.reverse(both, [2]))
    both = tf.cast(both, tf.float32) / 255.0
    both = tf.cond(
        tf.equal(window, crop),
        lambda: both,
        lambda: tf.image.resize(both, [crop, crop], antialias=True),
    )
    both = tf.ensure_shape(tf.clip_by_value(both, 0.0, 1.0), [2, crop, crop, 3])
    return both[0], both[1]


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
