"""The global part of a recipe as a colour table for other programs (`.cube`).

A table takes colours to colours and knows no places. What comes nearest to local tone curves is one
curve, one gain of saturation at each luminance and the tint: those of least squares over places,
weighted by how much of the picture lies there at that luminance. What is left is told as ΔE2000.

The file's form: Adobe, "Cube LUT Specification", version 1.0, 2013.
"""

from dataclasses import dataclass
from os import PathLike, path
from pathlib import Path

import numpy as np
from scipy.interpolate import RegularGridInterpolator
from skimage.color import deltaE_ciede2000, rgb2lab
from sklearn.isotonic import isotonic_regression

from qdnet_keras import __version__
from qdnet_keras.errors import OutputError
from qdnet_keras.files import write_text
from qdnet_keras.model.layers.tone_grid import KNOTS, luminance
from qdnet_keras.model.tone_pixels import change_tones
from qdnet_keras.photos.pixels import from_float, to_float
from qdnet_keras.recipes.recipe import Recipe

SIZE = 33
UNSEEN = 0.1  # weight of a cell and luminance that the picture lacks, relative to the mean weight


@dataclass(frozen=True, eq=False)
class Cube:
    """A colour table, sRGB-encoded to sRGB-encoded.

    Attributes:
        table: float32 `[33, 33, 33, 3]` in 0..1, by red, green and blue.
        made: Mean ΔE2000 of the recipe's rendering to the picture.
        left: Mean ΔE2000 of the recipe's rendering to the table's, which it cannot hold.
    """

    table: np.ndarray
    made: float
    left: float

    @classmethod
    def fit(cls, recipe: Recipe, picture: np.ndarray) -> "Cube":
        """The table nearest to a recipe.

        Args:
            recipe: Its local part is averaged.
            picture: float32 `[height, width, 3]` in 0..1, sRGB-encoded: the picture that the
                recipe was found on, or a small copy of it.
        """
        change = global_part(recipe.change, picture)
        axis = np.linspace(0.0, 1.0, SIZE, dtype=np.float32)
        colours = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
        table = _changed(colours.reshape(SIZE, -1, 3), change).reshape(colours.shape)
        rendering = rgb2lab(_changed(picture, recipe.change))
        tabled = rgb2lab(RegularGridInterpolator([axis] * 3, table)(picture))
        made = deltaE_ciede2000(rendering, rgb2lab(picture))
        return cls(table, float(made.mean()), float(deltaE_ciede2000(rendering, tabled).mean()))

    def save(self, file: str | PathLike[str], *, force: bool = False) -> None:
        """Writes the table, red fastest.

        Raises:
            OutputError: If the file exists and `force` is not set, or cannot be written.
        """
        if path.lexists(file) and not force:
            raise OutputError(f"{file} exists already; choose another name or allow overwriting.")
        head = [
            f"# qdnet-keras {__version__}: sRGB to sRGB; of a change of {self.made:.2f} dE2000",
            f"# it leaves out {self.left:.2f}, which differ from place to place",
            f"LUT_3D_SIZE {SIZE}",
            "DOMAIN_MIN 0 0 0",
            "DOMAIN_MAX 1 1 1",
        ]
        rows = self.table.transpose(2, 1, 0, 3).reshape(-1, 3)
        lines = [f"{red:.6f} {green:.6f} {blue:.6f}" for red, green, blue in rows]
        write_text(Path(file), "\n".join([*head, *lines, ""]))


def global_part(change: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """The change of one cell, float32 `[1, 1, TONE_CHANNELS]`, nearest to one of many.

    Args:
        change: See `Recipe`.
        picture: See `Cube.fit`.
    """
    cells = change.shape[:2]
    weight = _share_of_picture(picture, cells)
    weight += UNSEEN * weight.mean()
    curves = change[..., : 2 * KNOTS].reshape(*cells, KNOTS, 2)
    light, gain = np.moveaxis((weight[..., None] * curves).sum((0, 1)), -1, 0) / weight.sum((0, 1))
    # A mean whose weights change with luminance need not rise, as each curve does.
    light = isotonic_regression(light, sample_weight=weight.sum((0, 1)))
    tint = change[0, 0, 2 * KNOTS :]
    whole = [*np.stack([light, gain], axis=-1).ravel(), *tint]
    return np.array(whole, np.float32)[None, None]


def _share_of_picture(picture: np.ndarray, cells: tuple[int, int]) -> np.ndarray:
    """How many pixels lie nearest to each cell and knot, `[rows, columns, KNOTS]`."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width]
    places = (y + 0.5) / height, (x + 0.5) / width, luminance(picture)[..., 0]
    half = 0.5 / (KNOTS - 1)
    limits = (0, 1), (0, 1), (-half, 1 + half)
    points = np.stack([place.ravel() for place in places], axis=-1)
    return np.histogramdd(points, (*cells, KNOTS), limits)[0]


def _changed(picture: np.ndarray, change: np.ndarray) -> np.ndarray:
    """A float32 picture with its tones changed, to 16 bits."""
    pixels = from_float(picture, np.uint16)
    return to_float(change_tones(pixels, change, (0, 0), pixels.shape[:2]))
