"""Typed configurations of a training, read from YAML; unknown keys are refused."""

import contextlib
import difflib
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qdnet_keras.errors import ConfigError
from qdnet_keras.model.presets import read_preset_config

PRESET_CONFIGS = ("paper", "refine", "scratch", "tiny")

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Stage = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(Section):
    """The network; see `qdnet_keras.QDNet` for each key.

    `network`, `taps` (those of ResNet50 by default), `pyramid` and `encoder_weights` describe the
    encoder, see `qdnet_keras.model.encoder.Encoder`. A training from a preset, `train.init`, has
    the preset's encoder; other keys that are left out are the preset's too.
    """

    network: str = "ResNet50"
    taps: tuple[str, ...] | None = None
    pyramid: tuple[Stage, Stage, Stage, Stage, Stage, Stage] = (0, 1, 2, 3, 4, 5)
    encoder_weights: str | None = None
    head: Literal["grid", "rgb"] = "grid"
    latent_dim: Count = 16
    z_stages: tuple[Stage, ...] = (0, 1, 2, 3, 4, 5)
    picture_statistics: tuple[Literal["natural", "published", "tonal"], ...] = ("tonal",)
    statistics_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    posterior_units: Count = 64
    scorer_units: tuple[Count, Count, Count] = (128, 128, 64)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    decoder_width: Count = 48


class LossSection(Section):
    """Weights of `Objective`; warm-up and cycle start are fractions of the whole training."""

    score_sigma: Positive = 1.0
    alpha: NonNegative = 10.0
    beta: NonNegative = 1e-2
    gamma: NonNegative = 10.0
    cycle: NonNegative = 0.0
    kl_warmup: Annotated[float, Field(ge=0, le=1)] = 0.3
    cycle_start: Annotated[float, Field(ge=0, le=1)] = 0.35


class DataSection(Section):
    """Crops and sizes, in pixels; see `qdnet_keras.data.pairs.training_pairs`."""

    batch_size: Count = 12
    crop: Annotated[int, Field(ge=32)] = 128
    scale: tuple[Positive, Positive] = (1.0, 1.0)
    max_side: Count = 1024
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1


class OptimizerSection(Section):
    """`step`: rate × `decay` every `decay_epochs`; `cosine`: warm-up, then down to 10 %.

    `accumulate` batches make one update, as one batch of so many times the pairs would, except that
    BatchNorm sees each on its own: for large batches in little memory. `weight_decay`, apart from
    the gradient (AdamW), is of kernels alone.
    """

    name: Literal["sgd", "adam"] = "adam"
    learning_rate: Positive = 7e-4
    schedule: Literal["step", "cosine"] = "cosine"
    decay: Positive = 0.8
    decay_epochs: Count = 7
    accumulate: Count = 1
    clip_norm: Positive | None = None
    weight_decay: Positive | None = None
    weight_average: Annotated[float, Field(gt=0, lt=1)] | None = None


class TrainSection(Section):
    """Length, seed and precision; `pictures_every` so many epochs renderings are drawn.

    `init` is a preset or folder whose network and weights are the start; parts (encoder,
    posterior, restorer, scorer, decoder) that the model section makes otherwise start anew, and so
    does a restorer that is not taught. `freeze` keeps the encoder as it is (`encoder`: steps are
    cheaper) or only its BatchNorm layers (`norm`: for small batches).

    With `score_steps` the encoder is kept too; posterior, scorer and restorer learn first, in so
    many steps, from whole pictures (see `qdnet_keras.training.scores`), and the epochs teach the
    decoder alone.
    """

    epochs: Count = 50
    steps_per_epoch: Count | None = None
    pictures_every: Count = 5
    seed: int = 0
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    init: str | None = None
    freeze: Literal["norm", "encoder"] | None = None
    score_steps: Annotated[int, Field(ge=0)] = 0


class BaseConfig(Section):
    """Sections of a training."""

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


class Config(BaseConfig):
    """Everything that defines a training, in five sections."""

    model: ModelSection = ModelSection()
    loss: LossSection = LossSection()
    data: DataSection = DataSection()
    optimizer: OptimizerSection = OptimizerSection()
    train: TrainSection = TrainSection()


def load_config(name_or_file: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Reads a named configuration or a YAML file and applies `section.key=value` overrides.

    Args:
        name_or_file: One of `PRESET_CONFIGS` or the path of a YAML file. Keys left out keep their
            defaults.
        overrides: Strings such as `"optimizer.learning_rate=1e-3"`; values are YAML.

    Raises:
        ConfigError: If the file is missing or not YAML, a key is unknown or a value is wrong.
        PresetError: If `train.init` is no preset.
    """
    return read_config(Config, PRESET_CONFIGS, name_or_file, overrides)


Kind = TypeVar("Kind", bound=BaseConfig)


def read_config(
    kind: type[Kind],
    names: Sequence[str],
    name_or_file: str | Path,
    overrides: Iterable[str] = (),
) -> Kind:
    """As `load_config`, of another kind of training whose named configurations are `names`."""
    if str(name_or_file) in names:
        source = f"configuration {name_or_file}"
        text = (
            resources.files("qdnet_keras.training") / "configs" / f"{name_or_file}.yaml"
        ).read_bytes()
    else:
        source = str(name_or_file)
        try:
            text = Path(name_or_file).read_bytes()
        except OSError as error:
            raise ConfigError(
                f"The configuration {source} cannot be read ({error.strerror}); give one of "
                f"{', '.join(names)} or the path of a YAML file."
            ) from error
    values = _parse_yaml(text, source)
    for override in overrides:
        _apply_override(values, override)
    try:
        kind.model_validate(values)
        return kind.model_validate(_with_network_of_preset(values))
    except ValidationError as error:
        raise ConfigError(_explain(error, kind, source)) from error


def _with_network_of_preset(values: dict[str, Any]) -> dict[str, Any]:
    """Keys of the model that are left out, from the preset that a training starts from."""
    init = values.get("train", {}).get("init")
    if init is None:
        return values
    stored = read_preset_config(init)["model"]
    network = {name: stored[name] for name in ModelSection.model_fields if name in stored}
    return {**values, "model": {**network, **values.get("model", {})}}


def _load_yaml(text: str | bytes, source: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not valid YAML: {' '.join(str(error).split())}.") from error


def _parse_yaml(text: bytes, source: str) -> dict[str, Any]:
    values = _load_yaml(text, source) or {}
    if not isinstance(values, dict) or not all(
        isinstance(section, dict) or section is None for section in values.values()
    ):
        raise ConfigError(f"{source} must hold sections with keys, such as 'train: {{epochs: 5}}'.")
    return {name: dict(section or {}) for name, section in values.items()}


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    section, dot, name = key.partition(".")
    if not (equals and dot):
        raise ConfigError(f"--set {override!r} must have the form section.key=value.")
    value = _load_yaml(text, f"--set {override!r}")
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)  # YAML 1.1 reads 1e-3 as a string
    values.setdefault(section, {})[name] = value


def _explain(error: ValidationError, kind: type[BaseConfig], source: str) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{source}: {key} is {first['input']!r}, but {first['msg'].lower()}."
    known = [
        section if len(first["loc"]) == 1 else f"{section}.{name}"
        for section, field in kind.model_fields.items()
        for name in field.default.model_dump()
    ]
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(dict.fromkeys(known))}."
    return f"{source}: {key} is not a known key; {hint}"
