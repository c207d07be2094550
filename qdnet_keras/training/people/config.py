"""The configuration of `teach`: what `people.yaml` and files like it hold."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from qdnet_keras.training.config import (
    BaseConfig,
    Count,
    ModelSection,
    NonNegative,
    OptimizerSection,
    Section,
    read_config,
)

Share = Annotated[float, Field(gt=0, lt=1)]


class PeopleModelSection(ModelSection):
    """As for other trainings; the head is the grid, and published statistics are seen."""

    head: Literal["grid"] = "grid"
    picture_statistics: tuple[Literal["natural", "published", "tonal"], ...] = ("published",)

    @field_validator("picture_statistics")
    @classmethod
    def _published(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if "published" not in names:
            raise ValueError("must have 'published', from which one of the teachers learns")
        return names


class PeopleDataSection(Section):
    """Pictures and how large they are seen.

    Photographs of the first set's part `liked_part` (all of it where that is null) whose MOS is
    among the highest `liked_share` are spoilt, `photographs` at most; each is squeezed into a
    square of `side` pixels, in `versions` versions of which the first is itself. `long_side` is
    that of pictures with votes, pixels.
    """

    liked_part: str | None = None
    liked_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    photographs: Count = 3000
    versions: Annotated[int, Field(ge=2)] = 3
    side: Annotated[int, Field(ge=32)] = 384
    long_side: Annotated[int, Field(ge=32)] = 384
    validation_fraction: Share = 0.05


class BatchSection(Section):
    """Photographs of a batch, in all versions; pictures of the first and of each other set, each
    in two views.
    """

    photographs: Count = 6
    first: Count = 48
    other: Count = 12


class PeopleLossSection(Section):
    """Weights of `JointTraining`; scores are in standard deviations of the first set's votes.

    `published` is the weight of published votes beside what the first set's people would say, where
    a picture has no vote. `smoothing` is the share, in a vote's label, of what the other votes of
    its set let expect of the picture. `mixtures` is the weight of mixtures of two pictures beside
    pictures. `margin` is by how much an edit of strength 1 lowers the score at least. One pixel in
    `stride`, each way, is compared.
    """

    published: NonNegative = 1.0
    smoothing: Annotated[float, Field(ge=0, le=1)] = 0.5
    mixtures: NonNegative = 1.0
    score: NonNegative = 3.0
    steady: NonNegative = 1.0
    spoilt: NonNegative = 0.45
    order: NonNegative = 1.0
    margin: NonNegative = 0.5
    beta: NonNegative = 2e-3
    kl_warmup: Annotated[float, Field(ge=0, le=1)] = 0.3
    reconstruction: NonNegative = 10.0
    swap: NonNegative = 10.0
    restoration: NonNegative = 10.0
    stride: Count = 8


class CalibrationSection(Section):
    """`bank` is its size."""

    bank: Count = 1024


class PeopleTrainSection(Section):
    """Length and seed.

    For `epochs` everything but the encoder learns at once; then, for `rendering_epochs`, the
    decoder and the restorer alone, which need longer than scores do.
    """

    epochs: Count = 6
    rendering_epochs: Annotated[int, Field(ge=0)] = 16
    steps_per_epoch: Count = 250
    seed: int = 0


class PeopleConfig(BaseConfig):
    """Everything that defines such a training, in seven sections."""

    model: PeopleModelSection = PeopleModelSection()
    data: PeopleDataSection = PeopleDataSection()
    batch: BatchSection = BatchSection()
    loss: PeopleLossSection = PeopleLossSection()
    optimizer: OptimizerSection = OptimizerSection()
    calibration: CalibrationSection = CalibrationSection()
    train: PeopleTrainSection = PeopleTrainSection()


def load_people_config(name_or_file: str | Path, overrides: Iterable[str] = ()) -> PeopleConfig:
    """As `qdnet_keras.training.config.load_config`; `people` is the released preset's."""
    return read_config(PeopleConfig, ("people",), name_or_file, overrides)
