"""What `ToneGrid` does to a picture's pixels, compiled: in large pictures, time is spent here."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from qdnet_keras.model.layers.natural_statistics import LUMINANCE
from qdnet_keras.model.layers.tone_grid import BRIGHTEST, DARKEST, KNOTS, SMALLEST, TINY

# float32 as in the graph: a Python float would make everything after it float64.
_RED, _GREEN, _BLUE = (np.float32(weight) for weight in LUMINANCE)
_BRIGHTEST, _DARKEST = np.float32(BRIGHTEST), np.float32(DARKEST)
_SMALLEST, _TINY = np.float32(SMALLEST), np.float32(TINY)
_ZERO, _HALF, _ONE, _STEPS = (np.float32(value) for value in (0.0, 0.5, 1.0, KNOTS - 1))


def _compiled(function: Callable) -> Callable:
    """Machine code, kept for other processes where there is a folder for it."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        return numba.njit(**options)(function)


def change_tones(
    pixels: np.ndarray, grid: np.ndarray, origin: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """`ToneGrid` of a tile of a picture, to the level next to the graph's at most.

    Args:
        pixels: The tile, uint8 or uint16 `[rows, columns, 3]`, sRGB-encoded.
        grid: float32 `[cells_y, cells_x, TONE_CHANNELS]`.
        origin: Row and column of its first pixel in the picture.
        size: Height and width of the picture.

    Returns:
        Shape and dtype of `pixels`. Other threads run meanwhile.
    """
    curves = grid[..., : 2 * KNOTS].reshape(*grid.shape[:2], KNOTS, 2)
    tint = grid[..., 2 * KNOTS :].mean(axis=(0, 1))
    output = np.empty_like(pixels)
    top = np.float32(np.iinfo(pixels.dtype).max)
    _change(pixels, output, top, np.ascontiguousarray(curves), tint, *origin, *size)
    return output


@_compiled
def _neighbours(pixel: int, size: int, cells: int) -> tuple[int, int, np.float32]:
    """The two grid cells around a pixel of a line and the share of the second."""
    position = (np.float32(pixel) + _HALF) * np.float32(cells) / np.float32(size) - _HALF
    position = min(max(position, _ZERO), np.float32(cells - 1))
    first: Any = min(np.int32(position), max(cells - 2, 0))
    return first, min(first + 1, cells - 1), position - np.float32(first)


@_compiled
def _change(
    pixels: np.ndarray,
    output: np.ndarray,
    top: np.float32,
    curves: np.ndarray,
    tint: np.ndarray,
    first_row: int,
    first_column: int,
    height: int,
    width: int,
) -> None:
    cells_y, cells_x = curves.shape[:2]
    rows, columns = pixels.shape[:2]
    level = _ONE / top
    lefts, rights = np.empty(columns, np.int32), np.empty(columns, np.int32)
    shares = np.empty(columns, np.float32)
    for column in range(columns):
        left, right, share = _neighbours(first_column + column, width, cells_x)
        lefts[column], rights[column], shares[column] = left, right, share
    line = np.empty(curves.shape[1:], np.float32)
    for row in range(rows):
        above, below, share = _neighbours(first_row + row, height, cells_y)
        for cell in range(cells_x):
            for knot in range(KNOTS):
                for k in range(2):
                    line[cell, knot, k] = (
                        curves[above, cell, knot, k] * (_ONE - share)
                        + curves[below, cell, knot, k] * share
                    )
        for column in range(columns):
            red = np.float32(pixels[row, column, 0]) * level
            green = np.float32(pixels[row, column, 1]) * level
            blue = np.float32(pixels[row, column, 2]) * level
            old = _RED * red + _GREEN * green + _BLUE * blue

            left, right, across = lefts[column], rights[column], shares[column]
            guide = old * _STEPS
            dark: Any = min(np.int32(guide), KNOTS - 2)
            bright, along = dark + 1, guide - np.float32(dark)
            new = (line[left, dark, 0] * (_ONE - along) + line[left, bright, 0] * along) * (
                _ONE - across
            ) + (line[right, dark, 0] * (_ONE - along) + line[right, bright, 0] * along) * across
            gain = (line[left, dark, 1] * (_ONE - along) + line[left, bright, 1] * along) * (
                _ONE - across
            ) + (line[right, dark, 1] * (_ONE - along) + line[right, bright, 1] * along) * across
            gain *= max(new, _SMALLEST) / max(old, _SMALLEST)

            red_chroma = gain * (red - old) + new * tint[0]
            green_chroma = gain * (green - old) + new * tint[1]
            blue_chroma = gain * (blue - old) + new * tint[2]
            brightest = max(max(red, green, blue), _BRIGHTEST, new)
            darkest = min(min(red, green, blue), _DARKEST, new)
            above_new = max(red_chroma, green_chroma, blue_chroma)
            below_new = -min(red_chroma, green_chroma, blue_chroma)
            room_above, room_below = brightest - new + _TINY, new - darkest + _TINY
            in_gamut = _ONE
            if above_new > room_above or below_new > room_below:
                in_gamut = room_above / max(above_new, room_above)
                in_gamut = min(room_below / max(below_new, room_below), in_gamut)

            for k, chroma in enumerate((red_chroma, green_chroma, blue_chroma)):
                changed = min(max(new + chroma * in_gamut, _ZERO), _ONE)
                output[row, column, k] = np.rint(changed * top)
