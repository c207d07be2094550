"""Which regions hold the score down: parts of a picture, each scored as a picture of its own."""

from collections.abc import Callable

import numpy as np

from qdnet_keras.photos.files import MIN_SIDE

CELLS = 6  # of the map along a side
WINDOW = 3  # cells along a side of a part

Score = Callable[[list[np.ndarray]], np.ndarray]


def region_scores(pixels: np.ndarray, before: float, score: Score) -> np.ndarray:
    """A map of scores whose mean is that of the whole picture.

    Overlapping windows of half the height and width are scored. A cell gets the mean of the windows
    that cover it, and then all cells are moved by one number, since parts and whole differ.

    Args:
        pixels: Working copy, float32 `[H, W, 3]` in 0..1.
        before: Its score.
        score: Function from pictures of one size to their scores.

    Returns:
        float32 `[rows, columns]`: `CELLS` each, or 1 along a side too short to be parted.
    """
    rows, columns = (CELLS if side >= 2 * MIN_SIDE else 1 for side in pixels.shape[:2])
    places = [(top, left) for top in _starts(rows) for left in _starts(columns)]
    height, width = (
        side * min(WINDOW, cells) // cells
        for side, cells in zip(pixels.shape[:2], (rows, columns), strict=True)
    )
    windows = []
    for top, left in places:
        y, x = pixels.shape[0] * top // rows, pixels.shape[1] * left // columns
        windows.append(pixels[y : y + height, x : x + width])
    total, count = np.zeros((rows, columns)), np.zeros((rows, columns))
    for (top, left), value in zip(places, score(windows), strict=True):
        covered = np.s_[top : top + WINDOW, left : left + WINDOW]
        total[covered] += value
        count[covered] += 1
    mean = total / count
    return (mean - mean.mean() + before).astype(np.float32)


def _starts(cells: int) -> range:
    """First cells of windows along a side."""
    return range(max(cells - WINDOW, 0) + 1)
