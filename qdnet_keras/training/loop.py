"""Trains a QDNet on a manifest into a run folder that can be resumed after any stop.

RUN/config.yaml      the whole configuration
RUN/versions.json    of Python and the libraries
RUN/splits.csv       which file was used for what
RUN/scores.json      what scores reach by cross-validation, with train.score_steps
RUN/history.csv      one row an epoch
RUN/tensorboard/     the same curves for TensorBoard
RUN/checkpoint/      model, optimiser, random state and epoch, replaced atomically
RUN/preset/          the trained network, for `--preset RUN/preset`
"""

import csv
import io
import json
import math
import os
import platform
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from qdnet_keras.data.manifest import Manifest
from qdnet_keras.data.pairs import decode_images, training_pairs
from qdnet_keras.data.splits import assign_splits
from qdnet_keras.errors import ConfigError, DataError, OutputError, QDNetError
from qdnet_keras.metrics import plcc, rmse, srocc
from qdnet_keras.model.presets import start_from
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.model.scoring import posteriors, same_size_batches, score_files
from qdnet_keras.outcomes import Z_90
from qdnet_keras.training.config import Config
from qdnet_keras.training.scores import COVERAGE, fit_scores

LIBRARIES = ("tensorflow", "keras", "tensorflow-probability", "numpy", "scipy", "pillow")
STATISTICS_PICTURES = 96
CALIBRATION_PICTURES = 50


def train(manifest: Manifest, config: Config, run: str | Path, resume: bool = False) -> QDNet:
    """Trains as `config` says and leaves everything in the folder `run`.

    Args:
        manifest: All renderings. Splits that it brings are kept, otherwise validation scenes are
            drawn by group with the configuration's seed; test renderings are never touched.
        config: See `qdnet_keras.training.config`.
        run: Folder to create, or to continue when `resume` is true.
        resume: Continue from the last checkpoint. On CPUs the result is, to the last bit, that of
            a training without the stop, if TensorFlow has not been used in this process before.

    Returns:
        The trained network with averaged weights and a filled bank.

    Raises:
        DataError, ImageError: If the data cannot be used.
        OutputError: If `run` exists already and `resume` is false.
        ConfigError: If `run` was started with another configuration.
        PresetError: If the start weights cannot be loaded.
        QDNetError: If the loss is no longer a number.
    """
    run = Path(run)
    _fix_order_of_operations()
    _prepare_run(run, config, resume)
    keras.utils.set_random_seed(config.train.seed)
    manifest = assign_splits(manifest, val=config.data.validation_fraction, seed=config.train.seed)
    training, validation = manifest.select("train"), manifest.select("val")
    if not len(training) or not len(validation):
        raise DataError(
            f"{manifest.source} has no training or no validation pictures; give at least one "
            "group the split 'train' and another 'val', or leave the column out."
        )
    _write_splits(manifest, run / "splits.csv")

    steps = config.train.steps_per_epoch or math.ceil(len(training) / config.data.batch_size)
    model = build_model(config, training, steps)
    epoch = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(
        weights=[weight.value for weight in model.weights],
        optimizer=model.optimizer,
        epoch=epoch,
        random_state=random_state(model),
    )
    manager = tf.train.CheckpointManager(checkpoint, run / "checkpoint", max_to_keep=2)
    if resume and manager.latest_checkpoint:
        checkpoint.restore(manager.latest_checkpoint).assert_consumed()
        if config.train.score_steps:
            model.residual_std = json.loads((run / "scores.json").read_text())["residual_std"]
    elif config.train.score_steps:
        fit = fit_scores(model, training, config.train.score_steps, config.train.seed)
        _write_text(run / "scores.json", json.dumps(fit._asdict(), indent=2) + "\n")
        manager.save(checkpoint_number=0)

    done = int(epoch)
    pairs = training_pairs(
        training,
        decode_images(training, config.data.max_side),
        batch_size=config.data.batch_size,
        crop=config.data.crop,
        scale=config.data.scale,
        seed=config.train.seed,
        start_step=done * steps,
    )
    model.fit(
        pairs,
        initial_epoch=done,
        epochs=config.train.epochs,
        steps_per_epoch=steps,
        shuffle=False,
        callbacks=[
            *([] if config.train.score_steps else [ScoreValidation(training, validation)]),
            keras.callbacks.TensorBoard(run / "tensorboard", profile_batch=0),
            EpochRecord(run / "history.csv", done, epoch, manager),
        ],
    )
    model.fill_bank(use_averaged_weights(model, training, len(training)))
    if not config.train.score_steps:
        loc, scale = posteriors(model, [rendering.file for rendering in validation.renderings])
        calibrate(model, loc, scale, validation.mos)
    model.save_to_preset(run / "preset")
    return model


def _fix_order_of_operations() -> None:
    """On CPUs, lets one operation run at a time (on all cores) and sum in a fixed order.

    So results repeat in every process. TensorFlow accepts this only before its first operation.
    """
    if tf.config.list_physical_devices("GPU"):
        return
    with suppress(RuntimeError):
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.experimental.enable_op_determinism()


def build_model(config: Config, training: Manifest, steps_per_epoch: int) -> QDNet:
    """A compiled network, its optimiser built, as `config` and the training MOS ask for."""
    updates = steps_per_epoch * config.train.epochs // config.optimizer.accumulate
    loss = config.loss.model_dump(exclude={"kl_warmup", "cycle_start"})
    loss["kl_warmup"] = round(config.loss.kl_warmup * updates)
    loss["cycle_start"] = round(config.loss.cycle_start * updates)
    model = QDNet(
        **config.model.model_dump(),
        **loss,
        mos_mean=float(training.mos.mean()),
        mos_std=float(max(training.mos.std(), 1.0)),
        bank_size=min(len(training), 2048),
        dtype=config.train.precision,
    )
    model.build()
    if config.train.init:
        taken = start_from(model, config.train.init)
        print(f"Started from {config.train.init}: {', '.join(taken)}.")
    model.encoder.freeze("encoder" if config.train.score_steps else config.train.freeze)
    model.posterior.trainable = model.scorer.trainable = not config.train.score_steps
    model.compile(optimizer=build_optimizer(config, steps_per_epoch))
    model.optimizer.build(model.trainable_variables)
    return model


def random_state(model: QDNet) -> list[tf.Variable]:
    """The states of all seed generators."""
    return [variable.value for variable in model.variables if "seed_generator" in variable.path]


def build_optimizer(config: Config, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """The configuration's optimiser with its learning-rate schedule."""
    options = config.optimizer
    total = steps_per_epoch * config.train.epochs
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
    return kind(
        rate,
        global_clipnorm=options.clip_norm,
        gradient_accumulation_steps=options.accumulate if options.accumulate > 1 else None,
        use_ema=options.weight_average is not None,
        ema_momentum=options.weight_average or 0.99,
    )


class ScoreValidation(keras.callbacks.Callback):
    """Adds `val_srocc`, `val_plcc` and `val_rmse` on whole pictures to the epoch's logs.

    The network is validated as it would be released (`use_averaged_weights`) and then put back.
    """

    def __init__(self, training: Manifest, validation: Manifest):
        super().__init__()
        self.training = training
        self.validation = validation

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        current = self.model.get_weights()
        count = min(len(self.training), STATISTICS_PICTURES)
        use_averaged_weights(self.model, self.training, count)
        predicted = score_files(self.model, self.validation)
        self.model.set_weights(current)
        if logs is not None:
            for metric in (srocc, plcc, rmse):
                logs[f"val_{metric.__name__}"] = metric(predicted, self.validation.mos)


class EpochRecord(keras.callbacks.Callback):
    """Appends the epoch to the history, then saves the checkpoint; stops when the loss is NaN."""

    def __init__(
        self, history: Path, done: int, epoch: tf.Variable, manager: tf.train.CheckpointManager
    ):
        super().__init__()
        self.history = history
        self.epoch = epoch
        self.manager = manager
        self.rows: list[dict[str, Any]] = []
        if done:
            with history.open(newline="") as file:
                self.rows = list(csv.DictReader(file))[:done]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        values = {name: float(value) for name, value in (logs or {}).items()}
        if not math.isfinite(values["loss"]):
            raise QDNetError(
                f"The loss is no longer a number in epoch {epoch + 1}; lower "
                "optimizer.learning_rate or set optimizer.clip_norm, and train again with --resume."
            )
        self.rows.append({"epoch": epoch + 1, **values})
        table = io.StringIO()
        writer = csv.DictWriter(table, list(self.rows[0]))
        writer.writeheader()
        writer.writerows(self.rows)
        _write_text(self.history, table.getvalue())
        self.epoch.assign(epoch + 1)
        self.manager.save(checkpoint_number=epoch + 1)


def use_averaged_weights(model: QDNet, training: Manifest, count: int) -> np.ndarray:
    """Gives the network the optimiser's averaged weights, if any, and fitting statistics.

    What is common among pictures, and the standardisation of a posterior that learns with the
    decoder, are measured on `count` whole pictures spread over `training`.

    Returns:
        Posterior means of these pictures, float32 `[count, latent_dim]`.
    """
    if model.optimizer.use_ema:
        model.optimizer.finalize_variable_values(model.trainable_variables)
    spread = np.linspace(0, len(training) - 1, count).round().astype(int)
    files = [training.renderings[i].file for i in spread]

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)])
    def measure(image):
        return [*model.split(image)[1], model.picture_statistics(image)]

    batches = [measure(batch) for batch in same_size_batches(files)]
    *statistics, natural = (ops.concatenate(stage) for stage in zip(*batches, strict=True))
    if model.posterior.trainable:
        model.posterior.adapt(statistics)
    model.novelty.adapt(natural)
    return np.asarray(model.posterior(statistics)[0])


def calibrate(model: QDNet, loc: np.ndarray, scale: np.ndarray, mos: np.ndarray) -> None:
    """Fits the scale and offset of the scores, and the width of their intervals, to pictures.

    Scores learnt under dropout and posterior noise are drawn towards the mean: the line is that of
    least squares. The spread is that of split conformal prediction: nine labels in ten lie within
    `Score.interval`. Nothing is changed where there are fewer than `CALIBRATION_PICTURES`, or
    scores that do not rise with the MOS.

    Args:
        loc, scale: Posteriors of validation pictures, `[count, latent_dim]`.
        mos: Their labels, MOS units, `[count]`.
    """
    predicted = np.asarray(model.score_latent(loc))
    count = len(mos)
    if count < CALIBRATION_PICTURES or not plcc(predicted, mos) > 0:
        return
    slope, offset = np.polyfit(predicted, mos, 1)
    model.mos_mean = float(slope * model.mos_mean + offset)
    model.mos_std = float(slope * model.mos_std)
    model.residual_std = 0.0
    score, spread = (np.asarray(values) for values in model.score_posterior(loc, scale))
    missing = np.sort(np.square((score - mos) / Z_90) - np.square(spread))
    rank = min(math.ceil(COVERAGE * (count + 1)), count)
    model.residual_std = float(np.sqrt(max(missing[rank - 1], 0.0)))


def _prepare_run(run: Path, config: Config, resume: bool) -> None:
    stored = run / "config.yaml"
    if stored.exists() and not resume:
        raise OutputError(f"{run} holds a run already; add --resume or choose another folder.")
    if stored.exists() and stored.read_text() != config.to_yaml():
        raise ConfigError(
            f"{run} was started with another configuration (see {stored}); resume without "
            "--config and --set, or choose another folder."
        )
    try:
        run.mkdir(parents=True, exist_ok=True)
        _write_text(stored, config.to_yaml())
    except OSError as error:
        raise OutputError(f"{run} cannot be written ({error.strerror}).") from error
    versions = {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
    _write_text(run / "versions.json", json.dumps(versions, indent=2) + "\n")


def _write_splits(manifest: Manifest, path: Path) -> None:
    rows = [f"{r.file.name},{r.scene},{r.group},{r.split}" for r in manifest.renderings]
    _write_text(path, "\n".join(["file,scene,group,split", *rows]) + "\n")


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
