"""Perspective views of equirectangular panoramas."""

from typing import NamedTuple

import cv2
import numpy as np

from qdnet_keras.synthesis.light import Array


class View(NamedTuple):
    """Camera of one view of a panorama, angles in degrees."""

    yaw: float  # to the right of the panorama's centre
    rise: float  # elevation of the picture's centre; the image plane stays upright
    fov: float  # horizontal field of view


def is_panorama(rgb: Array) -> bool:
    """Whether the picture is twice as wide as high, as equirectangular panoramas are."""
    return rgb.shape[1] == 2 * rgb.shape[0]


def panorama_width(width: int, fov: float) -> int:
    """How wide a panorama has to be for views of `width` pixels and `fov` degrees to be sharp."""
    return int(np.ceil(np.pi * width / np.tan(np.radians(fov / 2))))


def cut_view(panorama: Array, view: View, width: int, height: int) -> Array:
    """Projects a positive equirectangular panorama onto an image plane, bicubic in log radiance.

    Returns:
        float32 `[height, width, 3]`.
    """
    rows, columns = panorama.shape[:2]
    focal = width / 2 / np.tan(np.radians(view.fov / 2))
    x, y = np.meshgrid(np.arange(width) + 0.5 - width / 2, height / 2 - np.arange(height) - 0.5)
    y = y + focal * np.tan(np.radians(view.rise))
    longitude = np.arctan2(x, focal) + np.radians(view.yaw)
    latitude = np.arctan2(y, np.hypot(x, focal))
    u = ((longitude / (2 * np.pi) + 0.5) * columns - 0.5) % columns
    v = (0.5 - latitude / np.pi) * rows - 0.5
    log = cv2.remap(
        np.log(panorama),
        u.astype(np.float32),
        v.astype(np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_WRAP,
    )
    return np.exp(log).astype(np.float32)


def draw_views(count: int, random: np.random.Generator) -> list[View]:
    """Views all around from a random start, near the horizon, 90 to 100 degrees wide."""
    start = random.uniform(0, 360 / count)
    return [
        View(start + turn * 360 / count, random.uniform(-12, 12), random.uniform(90, 100))
        for turn in range(count)
    ]
