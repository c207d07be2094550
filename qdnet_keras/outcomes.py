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
    """What people would think of a picture.

    Attributes:
        score: 0..100, higher is better: the share of tone-mapped renderings, in per cent, that
            people would like less.
        mos: Mean opinion score on the scale of the training labels, 0..100.
        mos_std: Its standard deviation, MOS units: the posterior's spread, and how far opinions lay
            from it that were not learnt from.
        novelty: How unlike the training pictures it is; above 1 its score means little.
    """

    score: float
    mos: float
    mos_std: float
    novelty: float

    @property
    def interval(self) -> tuple[float, float]:
        """Where nine opinions in ten lie, MOS units."""
        half = Z_90 * self.mos_std
        return max(self.mos - half, 0.0), min(self.mos + half, 100.0)

    @property
    def familiar(self) -> bool:
        return self.novelty <= 1.0


@dataclass(frozen=True)
class Enhanced:
    """A picture rendered at another quality.

    Attributes:
        pixels: `[height, width, 3]`, sRGB-encoded. Of the dtype of an array that was given, or of a
            file whose pixels are sRGB; uint16 for other profiles.
        target: Score asked for, 0..100.
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
