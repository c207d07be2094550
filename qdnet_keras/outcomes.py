"""What the calls return, from a model in this process or from a server."""

from dataclasses import dataclass, field, fields
from os import PathLike
from typing import TYPE_CHECKING, Any

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
class Rendering:
    """A picture rendered at another quality.

    Attributes:
        pixels: `[height, width, 3]`, sRGB-encoded, of the dtype of the array or file that was
            given.
        source: The photograph that was rendered, whose metadata `save` keeps; None for an array.
    """

    pixels: np.ndarray
    source: "Photo | None" = field(default=None, kw_only=True, repr=False, compare=False)

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


@dataclass(frozen=True)
class Enhanced(Rendering):
    """A picture rendered at the score asked for.

    Attributes:
        target: Score asked for, 0..100.
        score_before, score_after: Scores of the input and of the rendering, as it is seen in the
            file that it is for, see `qdnet_keras.enhance`.
        epsilon: How far on the way to other qualities the rendering lies, 0..1; 0 leaves the
            picture as it is.
        reached: Whether |score_after − target| is within the tolerance.
        change: What was done to the picture, float32 `[cells_y, cells_x, change_channels]`, as
            `QDNet.rerender` takes it; None from a server. See `Recipe`.
    """

    target: float
    score_before: float
    score_after: float
    epsilon: float
    reached: bool
    change: np.ndarray | None = field(default=None, kw_only=True, repr=False, compare=False)


@dataclass(frozen=True)
class Trial:
    """A small edit of a picture and what it does to the score.

    Attributes:
        edit: In words, such as "brighter by a third of a stop".
        size: Of the edit, in the unit of its remedy, see `qdnet_keras.advice.remedies`.
        score: Of the picture so edited, 0..100.
        gain: `score` less that of the picture as it is.
        mends: How much of what is amiss with the picture the edit mends, 0..1, by what the network
            expects of it where it is not spoilt; 0 where it loses points. See
            `qdnet_keras.advice.explain.mending`.
    """

    edit: str
    size: float
    score: float
    gain: float
    mends: float

    def __str__(self) -> str:
        return f"{self.edit}: {self.gain:+.1f}"


@dataclass(frozen=True)
class Effect:
    """What one remedy does to the score, in several sizes.

    Attributes:
        remedy: Its name, a key of `qdnet_keras.advice.remedies.REMEDIES`.
        trials: By ascending size; the first is the standard one.
    """

    remedy: str
    trials: tuple[Trial, ...]

    @property
    def standard(self) -> Trial:
        return self.trials[0]

    @property
    def best(self) -> Trial:
        """The trial with the highest score."""
        return max(self.trials, key=lambda trial: trial.score)

    @property
    def mends(self) -> float:
        """Of the trial that mends most."""
        return max(trial.mends for trial in self.trials)


@dataclass(frozen=True)
class Explanation:
    """Why a picture has its score.

    Attributes:
        score: Of the picture, 0..100.
        effects: One for each remedy, the one that mends most first; those that mend nothing by the
            gain of their best trial.
        regions: float32 `[rows, columns]`: the score of each part of the picture, were it a picture
            of its own, moved by one number so that the mean is `score`. Parts below it hold the
            score down.
        pixels: The working copy that was looked at, uint8 `[height, width, 3]`, sRGB-encoded.
    """

    score: float
    effects: tuple[Effect, ...]
    regions: np.ndarray = field(compare=False)
    pixels: np.ndarray = field(repr=False, compare=False)

    def record(self) -> dict[str, Any]:
        """All but the pixels as what JSON holds."""
        effects = [
            {
                "remedy": effect.remedy,
                "trials": [vars(trial) for trial in effect.trials],
                "gain": effect.standard.gain,
                "best_gain": effect.best.gain,
                "mends": effect.mends,
            }
            for effect in self.effects
        ]
        return {"score": self.score, "effects": effects, "regions": self.regions.tolist()}


@dataclass(frozen=True)
class Candidate:
    """A rendering of a scene that was considered.

    Attributes:
        operator: A name in `qdnet_keras.synthesis.tone_mapping.OPERATORS`.
        parameters: Keyword arguments of the operator.
        tuned: Whether they were sought; else they are its own defaults.
        score: 0..100, in the working size.
        pixels: The rendering in the working size, uint8 `[height, width, 3]`, sRGB-encoded.
    """

    operator: str
    parameters: dict[str, float]
    tuned: bool
    score: float
    pixels: np.ndarray = field(repr=False, compare=False)

    def record(self) -> dict[str, Any]:
        """All but the pixels as what JSON holds."""
        names = ("operator", "parameters", "tuned", "score")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Tonemapped:
    """A scene rendered by the operator, with the parameters, that scores best.

    Attributes:
        pixels: The rendering in full size, uint8 `[height, width, 3]`, sRGB-encoded.
        score: Of `pixels`, 0..100.
        candidates: All that were considered, the best first.
    """

    pixels: np.ndarray = field(repr=False, compare=False)
    score: float
    candidates: tuple[Candidate, ...]

    @property
    def best(self) -> Candidate:
        """The candidate that `pixels` shows."""
        return self.candidates[0]

    def save(self, path: str | PathLike[str], *, force: bool = False) -> None:
        """Writes `pixels` in the format of the suffix.

        Raises:
            OutputError: If the file exists and `force` is not set, its suffix is of no known
                format, or it cannot be written.
        """
        from qdnet_keras.photos.files import Photo, write_photo

        write_photo(Photo(self.pixels, None, False, "PNG"), str(path), force=force)


# What a served model answers by these names, beside the rendering itself.
SCORES = tuple(field.name for field in fields(Score))
_OURS = ("pixels", "source", "target", "change")
RESULTS = tuple(field.name for field in fields(Enhanced) if field.name not in _OURS)
