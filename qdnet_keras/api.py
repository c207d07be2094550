"""The package in three functions: `load`, `score` and `enhance`."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from qdnet_keras.enhancement import Enhanced, enhance_pixels
from qdnet_keras.images import read_photo
from qdnet_keras.model import QDNet
from qdnet_keras.presets import DEFAULT_PRESET
from qdnet_keras.scoring import WORKING_SIDE, Score, score_pixels

Picture = str | Path | np.ndarray


@cache
def load(preset: str = DEFAULT_PRESET) -> QDNet:
    """The network of a released preset or of a preset folder; loaded once a process.

    Raises:
        PresetError: If it does not exist or cannot be read.
    """
    return QDNet.from_preset(preset)


def score(picture: Picture, model: QDNet | None = None, long_side: int = WORKING_SIDE) -> Score:
    """How good people would find a picture: `.score` (MOS, 0..100) and `.score_std`.

    Args:
        picture: Path, or uint8/uint16 array `[height, width, 3]`, sRGB-encoded, sides ≥ 32.
        model: Default: the released preset.
        long_side: The score is computed on a copy of at most this long side, in pixels.

    Raises:
        ImageError: If the file cannot be used.
    """
    return score_pixels(model or load(), _pixels(picture), long_side)


def enhance(
    picture: Picture, target: float, model: QDNet | None = None, **options: Any
) -> Enhanced:
    """The picture re-rendered at a target score; see `enhance_pixels` for options and errors.

    Args:
        picture: Path, or uint8/uint16 array `[height, width, 3]`, sRGB-encoded, sides ≥ 32.
        target: Score to reach, MOS units 0..100.
        model: Default: the released preset.

    Raises:
        ImageError: If the file cannot be used.
    """
    return enhance_pixels(model or load(), _pixels(picture), target, **options)


def _pixels(picture: Picture) -> np.ndarray:
    return picture if isinstance(picture, np.ndarray) else read_photo(picture).pixels
