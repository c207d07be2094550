"""Square crops of photographs, each a function of its number alone."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from qdnet_keras.data.pictures import Pictures
from qdnet_keras.data.reading import read_manifest
from qdnet_keras.data.splits import assign_splits
from qdnet_keras.errors import DataError
from qdnet_keras.photos.files import find_photos, to_float
from qdnet_keras.synthesis.edits import apply_edits, draw_edits

HELD_OUT = 0.03  # of the photographs
LONG_SIDE = 512  # of the copies that crops are cut from, pixels
CACHE_BYTES = 1 << 30
EDITED = 0.5  # of the crops
WORKERS = 2


def find_photographs(paths: Sequence[Path], seed: int) -> tuple[list[Path], list[Path]]:
    """Photographs to learn from, and others that are held out.

    Args:
        paths: Manifests, whose splits are kept and whose test pictures are left alone, and folders
            of photographs.
        seed: Of what is held out where nothing says so.

    Raises:
        DataError: If a manifest cannot be used, or there are no photographs for one of the two.
        ImageError: If a photograph cannot be read.
    """
    listed = [path for path in paths if _is_manifest(path)]
    # Scores are not looked at: any scale will do.
    manifests = [read_manifest(path, mos_range=(0, 100)) for path in listed]
    sets = [assign_splits(manifest, val=HELD_OUT, seed=seed) for manifest in manifests]
    training, held_out = (
        [rendering.file for manifest in sets for rendering in manifest.select(split).renderings]
        for split in ("train", "val")
    )
    loose = list(find_photos(path for path in paths if path not in listed))
    count = int(np.ceil(HELD_OUT * len(loose)))
    order = np.random.default_rng(seed).permutation(len(loose))
    held_out += [loose[i] for i in order[:count]]
    training += [loose[i] for i in order[count:]]
    headers = Pictures([*training, *held_out], LONG_SIDE)
    for index in range(len(headers.files)):
        headers.size(index)
    if not training or not held_out:
        names = ", ".join(map(str, paths))
        raise DataError(
            f"{names}: too few photographs to learn from some and to hold others out; give more."
        )
    return training, held_out


def _is_manifest(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".tsv") or (path / "labels.csv").is_file()


class Crops:
    """Squares of photographs: of any place and size, mirrored or not, half of them edited.

    Args:
        files: Photographs; each crop is of one drawn at random.
        side: Of the crops, pixels. A crop shows a square of `side` pixels at least, and of the
            photograph's short side at most.
        seed: Of everything that is drawn.

    Attributes:
        pictures: The photographs' copies of 512 pixels, of which 1 GiB stays in memory.
    """

    def __init__(self, files: Sequence[Path], side: int, seed: Sequence[int]):
        self.pictures = Pictures(files, LONG_SIDE, CACHE_BYTES)
        self.side, self.seed = side, seed

    def get(self, number: int) -> np.ndarray:
        """Crop `number`, sRGB-encoded, float32 `[side, side, 3]` in 0..1. Raises `ImageError`."""
        random = np.random.default_rng([*self.seed, number])
        picture = self.pictures.get(int(random.integers(len(self.pictures.files))))
        height, width = picture.shape[:2]
        shorter = min(height, width)
        window = int(random.integers(min(self.side, shorter), shorter, endpoint=True))
        row, column = random.integers(0, [height - window, width - window], endpoint=True)
        square = picture[row : row + window, column : column + window]
        size = (self.side, self.side)
        crop = to_float(cv2.resize(square, size, interpolation=cv2.INTER_AREA))
        if random.random() < 0.5:
            crop = crop[:, ::-1]
        if random.random() < EDITED:
            crop = apply_edits(crop, draw_edits(random), random)
        return np.ascontiguousarray(crop.clip(0, 1), np.float32)

    def batches(self, size: int, start: int = 0) -> tf.data.Dataset:
        """Endless batches of `size` crops, float32 `(size, side, side, 3)`, from `start` on."""

        def crop(number: tf.Tensor) -> tf.Tensor:
            # Equal numbers give equal crops, so calls may run side by side.
            made = tf.numpy_function(self.get, [number], tf.float32, stateful=False)
            return tf.ensure_shape(made, [self.side, self.side, 3])

        numbers = tf.data.Dataset.counter(tf.cast(start * size, tf.int64))
        crops = numbers.map(crop, num_parallel_calls=WORKERS, deterministic=True)
        return crops.batch(size, drop_remainder=True).prefetch(2)
