"""What scoring and enhancement return, from a model in this process or from a server."""

from dataclasses import dataclass, field, fields
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from qdnet_keras.photos.files import Photo

Z_90 = 1.645  # standard deviations of a Gaussian within which 90 % lie


@dataclass(frozen=True)
class Score:
    """Opinion score of a picture.

    Attributes:
        score: MOS units 0..100, higher is better.
        score_std: Its standard deviation, MOS units: the posterior's spread, and how far labels of
            validation pictures lay from their scores.
        novelty: How unlike the training photographs it is; above 1 the score means little.
    """

    score: float
    score_std: float
    novelty: float

    @property
    def interval(self) -> tuple[float, float]:
        """As wide as it took to hold nine labels in ten of validation pictures, MOS units."""
        half = Z_90 * self.score_std
        return max(self.score - half, 0.0), min(self.score + half, 100.0)

    @property
    def familiar(self) -> bool:
        return self.novelty <= 1.0


@dataclass(frozen=True)
class Enhanced:
    """A picture rendered at another quality.

    Attributes:
        pixels: `[height, width, 3]`, sRGB-encoded. Of the dtype of an array that was given, or of a
            file whose pixels are sRGB; uint16 for other profiles.
        target: Score asked for, MOS units 0..100.
        score_before, score_after: Scores of the input and of `pixels`, each as `score_pixels`
            gives it.
        epsilon: Share of z̄ in the latent, 0..1; 0 leaves the picture as it is.
        reached: Whether |score_after − target| is within the tolerance.
        source: The photograph that was rendered, whose metadata `save` keeps; None for an array.
    """

    pixels: np.ndarray
    target: float
    score_before: float
    score_after: float
    epsilon: float
    reached: bool
    source: "Photo | None" = field(default=None, repr=False, compare=False)

    def save(self, path: str | PathLike[str], *, force: bool = False) -> tuple[str, ...]:
        """Writes the rendering, with alpha, profile, depth and metadata of the source.

        Args:
            path: Its suffix tells the format; without one it is the source's.
            force: Whether a file of that name may be replaced.

        Returns:
            Notes of what could not be kept.

        Raises:
            OutputError: If the file exists and `force` is not set, its suffix is of no known
                format, it cannot be written, or the format cannot hold the picture.
        """
        from qdnet_keras.photos.files import Photo, write_photo

        source = self.source or Photo(self.pixels, None, False, "PNG")
        return write_photo(source.with_rendered(self.pixels), str(path), force=force)


# What a served model answers by these names, beside the rendering itself.
SCORES = tuple(field.name for field in fields(Score))
_OURS = ("pixels", "target", "source")
RESULTS = tuple(field.name for field in fields(Enhanced) if field.name not in _OURS)
