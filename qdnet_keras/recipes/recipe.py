"""Recipes: what `enhance` did to one picture, kept as a file and done to others.

A recipe needs neither the network nor its weights. Its file is JSON:

    {
      "recipe": 1,                       version of this form
      "made_by": "qdnet-keras 0.2.0",
      "preset": {"name": "people", "sha256": "..."},     or null; see `preset_hash`
      "target": 50.0, "score_before": 31.2, "score_after": 49.8,
      "epsilon": 0.41,                   how far on the way to other qualities, 0..1
      "change": {
        "rows": 18, "columns": 24,       cells over the height and the width of the picture
        "knots": 16,                     old luminances 0, 1/15 .. 1
        "light": "...",                  new luminance there, of each cell
        "saturation": "...",             gain of chroma there, of each cell
        "tint": [0.01, 0.0, -0.02]       of red, green and blue, for the whole picture
      }
    }

"light" and "saturation" are arrays `[rows, columns, knots]` of little-endian float32 in base64.
What they mean is in `qdnet_keras.model.layers.ToneGrid`.
"""

import base64
from dataclasses import dataclass
from os import PathLike, path
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from qdnet_keras import __version__
from qdnet_keras.errors import ConfigError, OutputError
from qdnet_keras.files import reason, write_text
from qdnet_keras.hubs.fetch import is_address
from qdnet_keras.model.layers.tone_grid import KNOTS, TONE_CHANNELS
from qdnet_keras.model.presets import preset_hash
from qdnet_keras.outcomes import Enhanced

MOST_GAIN = 16.0  # of saturation, more than any network gives
MOST_CELLS = 4096  # along a side
SLACK = 1e-5  # beyond 0..1, from rounding


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PresetUsed(_Form):
    """Which preset found a change.

    Attributes:
        name: Name of the preset, of its folder, or its address.
        sha256: See `qdnet_keras.model.presets.preset_hash`.
    """

    name: str
    sha256: str


class _Change(_Form):
    rows: int = Field(ge=1, le=MOST_CELLS)
    columns: int = Field(ge=1, le=MOST_CELLS)
    knots: int = Field(ge=KNOTS, le=KNOTS)
    light: str
    saturation: str
    tint: tuple[FiniteFloat, FiniteFloat, FiniteFloat]

    @model_validator(mode="after")
    def _holds_tones(self) -> "_Change":
        light, gain = self._values("light"), self._values("saturation")
        if not (light.min() >= -SLACK and light.max() <= 1 + SLACK):
            raise ValueError("its light must lie in 0..1")
        if not (np.diff(light) > 0).all():
            raise ValueError("its light must rise from knot to knot")
        if not (gain.min() >= 0 and gain.max() <= MOST_GAIN):
            raise ValueError(f"its saturation must lie in 0..{MOST_GAIN:g}")
        if max(map(abs, self.tint)) > 1:
            raise ValueError("its tint must lie in -1..1")
        return self

    def _values(self, name: str) -> np.ndarray:
        shape = self.rows, self.columns, self.knots
        try:
            content = base64.b64decode(getattr(self, name), validate=True)
        except ValueError:
            raise ValueError(f"its {name} is no base64") from None
        if len(content) != 4 * self.rows * self.columns * self.knots:
            raise ValueError(f"its {name} has {len(content)} bytes, which are not {shape} float32")
        return np.frombuffer(content, "<f4").reshape(shape)

    def array(self) -> np.ndarray:
        """As `ToneGrid` takes it."""
        curves = np.stack([self._values("light"), self._values("saturation")], axis=-1)
        cells = self.rows, self.columns
        tint = np.broadcast_to(np.array(self.tint, np.float32), (*cells, 3))
        return np.concatenate([curves.reshape(*cells, 2 * KNOTS), tint], axis=-1)

    @classmethod
    def of(cls, change: np.ndarray) -> "_Change":
        rows, columns, _ = change.shape
        light, gain = np.moveaxis(change[..., : 2 * KNOTS].reshape(rows, columns, KNOTS, 2), -1, 0)
        red, green, blue = map(float, change[0, 0, 2 * KNOTS :])
        return cls(
            rows=rows,
            columns=columns,
            knots=KNOTS,
            light=_text(light),
            saturation=_text(gain),
            tint=(red, green, blue),
        )


def _text(values: np.ndarray) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


class _File(_Form):
    recipe: Literal[1]
    made_by: str
    preset: PresetUsed | None
    target: FiniteFloat = Field(ge=0, le=100)
    score_before: FiniteFloat = Field(ge=0, le=100)
    score_after: FiniteFloat = Field(ge=0, le=100)
    epsilon: FiniteFloat = Field(ge=0, le=1)
    change: _Change


@dataclass(frozen=True, eq=False)
class Recipe:
    """What was done to a picture, to be done to other frames of its series.

    Attributes:
        change: Local tone curves, saturation and tint, float32
            `[cells_y, cells_x, TONE_CHANNELS]`; see `qdnet_keras.model.layers.ToneGrid`.
        target: Score that was asked for, 0..100.
        score_before, score_after: Of the picture it was found on, 0..100.
        epsilon: How far on the way to other qualities, 0..1; 0 changes nothing.
        preset: Which preset found it, where that is known.

    Example:

        better = qdnet_keras.enhance("frame_1.tif", target=50)
        recipe = qdnet_keras.Recipe.of(better)
        recipe.save("look.json")
        qdnet_keras.apply("frame_2.tif", recipe).save("better_2.tif")
    """

    change: np.ndarray
    target: float
    score_before: float
    score_after: float
    epsilon: float
    preset: PresetUsed | None = None

    @classmethod
    def of(cls, enhanced: Enhanced, preset: str | Path | None = None) -> "Recipe":
        """The recipe of a rendering.

        Args:
            enhanced: What `qdnet_keras.enhance` returned.
            preset: What the network was loaded from, see `qdnet_keras.load`, noted with its hash.

        Raises:
            ValueError: If the rendering came from a server, or from a network with another head
                than `"grid"`: neither has tone curves.
            PresetError: If the preset cannot be read.
        """
        change = enhanced.change
        if change is None or change.shape[-1] != TONE_CHANNELS:
            raise ValueError("A recipe is made of tone curves, which this rendering has not.")
        used = None
        if preset is not None:
            name = str(preset) if is_address(preset) else Path(preset).name
            used = PresetUsed(name=name, sha256=preset_hash(preset))
        scores = enhanced.target, enhanced.score_before, enhanced.score_after
        return cls(change, *scores, enhanced.epsilon, used)

    @classmethod
    def load(cls, file: str | PathLike[str]) -> "Recipe":
        """Reads a recipe. Raises `ConfigError` if that cannot be, or it is damaged."""
        try:
            stored = _File.model_validate_json(Path(file).read_bytes())
        except OSError as error:
            raise ConfigError(f"The recipe {file} cannot be read ({reason(error)}).") from error
        except ValidationError as error:
            raise ConfigError(_explain(error, str(file))) from error
        names = ("target", "score_before", "score_after", "epsilon", "preset")
        return cls(stored.change.array(), **{name: getattr(stored, name) for name in names})

    def save(self, file: str | PathLike[str], *, force: bool = False) -> None:
        """Writes the recipe as JSON.

        Args:
            file: Any name.
            force: Whether a file of that name may be replaced.

        Raises:
            OutputError: If it exists and `force` is not set, or cannot be written.
        """
        if path.lexists(file) and not force:
            raise OutputError(f"{file} exists already; choose another name or allow overwriting.")
        stored = _File(
            recipe=1,
            made_by=f"qdnet-keras {__version__}",
            preset=self.preset,
            target=self.target,
            score_before=self.score_before,
            score_after=self.score_after,
            epsilon=self.epsilon,
            change=_Change.of(self.change),
        )
        write_text(Path(file), stored.model_dump_json(indent=2) + "\n")

    def render(self, pixels: np.ndarray) -> np.ndarray:
        """Does the same to a picture of any size: cells lie at the same shares of its sides.

        Args:
            pixels: uint8 or uint16 `[height, width, 3]`, sRGB-encoded.

        Returns:
            Of the shape and dtype of `pixels`. The picture that the recipe was found on becomes
            what `enhance` made of it.
        """
        from qdnet_keras.model.tone_pixels import change_tones  # compiled at its first use

        return change_tones(pixels, self.change, (0, 0), pixels.shape[:2])


def _explain(error: ValidationError, file: str) -> str:
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "json_invalid":
        return f"{file} is not a recipe, or cut short: it is no JSON."
    if key == "recipe" and isinstance(first["input"], int):
        return f"{file} is a recipe of form {first['input']}, which this version does not know."
    what = first["msg"].removeprefix("Value error, ")
    return f"{file} is not a recipe, or damaged: {f'{key}: ' if key else ''}{what}."
