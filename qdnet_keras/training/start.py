"""The network, its start and the optimiser that a configuration asks for."""

from pathlib import Path

import keras

from qdnet_keras.data.manifest import Manifest
from qdnet_keras.errors import ConfigError, PresetError
from qdnet_keras.model.encoder import RESNET50_TAPS, Encoder
from qdnet_keras.model.objective import Objective
from qdnet_keras.model.presets import named_weights, read_preset_config, read_preset_weights
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.training.config import Config, OptimizerSection

PARTS = ("encoder", "posterior", "restorer", "scorer", "decoder")


def build_model(config: Config, training: Manifest, steps_per_epoch: int) -> QDNet:
    """As `new_model`, with the weights of the preset that `config` starts from."""
    model = new_model(config, training, steps_per_epoch)
    if config.train.init:
        taken = start_from(model, config.train.init, restorer=config.train.score_steps > 0)
        print(f"Started from {config.train.init}: {', '.join(taken)}.")
    return model


def new_model(config: Config, training: Manifest, steps_per_epoch: int) -> QDNet:
    """A compiled network, its optimiser built, as `config` and the training MOS ask for.

    Raises:
        ConfigError: If a stage is named that the encoder does not have.
    """
    options = config.model.model_dump(exclude={"network", "taps", "pyramid", "encoder_weights"})
    bank_size = min(len(training), 2048)
    policy = config.train.precision
    encoder = build_encoder(config)
    last = len(encoder.channels) - 1
    for name, stages in (("z_stages", config.model.z_stages), ("pyramid", encoder.pyramid)):
        if max(stages, default=0) > last:
            raise ConfigError(
                f"model.{name} has {max(stages)}; the encoder has stages 0 to {last}."
            )
    model = QDNet(encoder, **options, bank_size=bank_size, dtype=policy)
    model.build()
    model.calibration.mos_mean.assign(training.mos.mean())
    model.calibration.mos_std.assign(max(training.mos.std(), 1.0))
    model.encoder.freeze("encoder" if config.train.score_steps else config.train.freeze)
    model.posterior.trainable = model.scorer.trainable = not config.train.score_steps
    optimizer = build_optimizer(config.optimizer, steps_per_epoch, config.train.epochs)
    model.compile(optimizer=optimizer, objective=build_objective(config, steps_per_epoch))
    model.optimizer.build(model.trainable_variables)
    return model


def build_encoder(config: Config) -> Encoder:
    """The encoder of the preset that a training starts from, else the configuration's own."""
    policy = config.train.precision
    if config.train.init:
        stored = read_preset_config(config.train.init)["model"]["encoder"]
        return Encoder.from_config({**stored, "dtype": policy, "name": "encoder"})
    options = config.model
    taps, weights = options.taps or RESNET50_TAPS, options.encoder_weights
    return Encoder(options.network, taps, options.pyramid, weights, dtype=policy, name="encoder")


def build_objective(config: Config, steps_per_epoch: int) -> Objective:
    """Eq. (4) with the configuration's weights; its fractions of the training become updates."""
    updates = steps_per_epoch * config.train.epochs // config.optimizer.accumulate
    options = config.loss.model_dump()
    for name in ("kl_warmup", "cycle_start"):
        options[name] = round(options[name] * updates)
    return Objective(**options)


def build_optimizer(
    options: OptimizerSection, steps_per_epoch: int, epochs: int
) -> keras.optimizers.Optimizer:
    """The configuration's optimiser with its learning-rate schedule."""
    total = steps_per_epoch * epochs
    if options.schedule == "step":
        rate = keras.optimizers.schedules.ExponentialDecay(
            options.learning_rate, options.decay_epochs * steps_per_epoch, options.decay, True
        )
    else:
        warmup = max(min(100, total // 20), 1)
        rate = keras.optimizers.schedules.CosineDecay(
            options.learning_rate / 10,
            max(total - warmup, 1),
            alpha=0.1,
            warmup_target=options.learning_rate,
            warmup_steps=warmup,
        )
    kind = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}[options.name]
    optimizer = kind(
        rate,
        weight_decay=options.weight_decay,
        global_clipnorm=options.clip_norm,
        gradient_accumulation_steps=options.accumulate if options.accumulate > 1 else None,
        use_ema=options.weight_average is not None,
        ema_momentum=options.weight_average or 0.99,
    )
    if options.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    return optimizer


def start_from(model: QDNet, preset: str | Path, restorer: bool = True) -> list[str]:
    """Copies from a preset the parts whose weights have the same shapes in `model`.

    Parts are those of `PARTS`. Scores keep the preset's scale with its scorer. A restorer is of
    use with its posterior alone.

    Args:
        restorer: Whether to take the restorer: not where the posterior will change without it.

    Returns:
        Names of the parts copied.

    Raises:
        PresetError: If no part fits, or the preset cannot be read.
    """
    stored = read_preset_weights(preset)
    taken = []
    for part in PARTS:
        if part == "restorer" and not (restorer and "posterior" in taken):
            continue
        own = {weight.path for weight in getattr(model, part).weights}
        weights = {n: w for n, w in named_weights(model).items() if w.path in own}
        if all(n in stored and stored[n].shape == tuple(w.shape) for n, w in weights.items()):
            for name, weight in weights.items():
                weight.assign(stored[name].astype("float32"))
            taken.append(part)
    if not taken:
        raise PresetError(f"Nothing of {preset} fits this network; choose another train.init.")
    if "scorer" in taken:
        for name in ("mos_mean", "mos_std", "quantiles"):
            getattr(model.calibration, name).assign(stored[f"calibration/{name}"])
    return taken
