"""Scores and renders pictures in one call each."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from qdnet_keras.defaults import DEFAULT_PRESET
from qdnet_keras.model.enhancement import enhance_pixels
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.model.scoring import WORKING_SIDE, score_pixels
from qdnet_keras.outcomes import Enhanced, Score
from qdnet_keras.photos.files import check_pixels, read_photo

Picture = str | os.PathLike[str] | np.ndarray


def load(preset: str | os.PathLike[str] = DEFAULT_PRESET) -> QDNet:
    """Loads a released preset by name, or a folder that training or `save_to_preset` wrote.

    Raises:
        PresetError: If it does not exist, is damaged or does not fit.
    """
    return QDNet.from_preset(preset)


def score(picture: Picture, model: QDNet | None = None, *, long_side: int = WORKING_SIDE) -> Score:
    """Scores a picture.

    Args:
        picture: Path of a PNG, JPEG, TIFF or WebP file, or uint8 or uint16 `[height, width, 3]`,
            sRGB-encoded, sides ≥ 32.
        model: See `load`; by default the released preset, loaded at the first call.
        long_side: The score is computed on a copy of at most this long side, pixels.

    Returns:
        `Score` with `score`, MOS units 0..100, higher is better; `score_std`, its standard
        deviation; `interval`, which held nine validation labels in ten; and `novelty`, above 1 for
        what is no photograph of the kind that the model knows.

    Raises:
        ImageError: If the file cannot be read or the array is of another shape or type.
    """
    return score_pixels(model or _default_model(), _pixels(picture), long_side)


def enhance(
    picture: Picture, target: float, model: QDNet | None = None, **options: Any
) -> Enhanced:
    """Renders a picture at the score asked for, or as near to it as the model can.

    Args:
        picture: As for `score`.
        target: Score asked for, MOS units 0..100; it may be below the picture's own.
        model: See `load`; by default the released preset, loaded at the first call.
        **options: `sampler`, `tolerance`, `long_side` and `seed`, see
            `qdnet_keras.model.enhancement.enhance_pixels`.

    Returns:
        `Enhanced` with `pixels` in size and dtype of the input, `score_before`, `score_after`,
        `epsilon` and `reached`.

    Raises:
        ImageError: If the file cannot be read or the array is of another shape or type.
        ValueError: If the target or an option is out of range.
    """
    return enhance_pixels(model or _default_model(), _pixels(picture), target, **options)


@cache
def _default_model() -> QDNet:
    return load()


def _pixels(picture: Picture) -> np.ndarray:
    if not isinstance(picture, np.ndarray):
        return read_photo(Path(picture)).pixels
    check_pixels(picture)
    return picture
