"""Trains a QDNet on a manifest into a run folder that can be resumed after any stop.

RUN/config.yaml      the whole configuration
RUN/versions.json    of Python and the libraries
RUN/splits.csv       which file was used for what
RUN/scores.json      what scores reach by cross-validation, with train.score_steps
RUN/history.csv      one row an epoch
RUN/validation.csv   what the trained network says of each validation picture, MOS units
RUN/validation.json  how well that agrees with the labels
RUN/pictures/        what it renders, every `train.pictures_every` epochs
RUN/tensorboard/     curves and pictures for TensorBoard
RUN/checkpoint/      model, optimiser, random state and epoch, replaced atomically
RUN/preset/          the trained network, for `--preset RUN/preset`
"""

import json
import math
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from qdnet_keras.data.manifest import Manifest
from qdnet_keras.data.pairs import training_pairs, training_pictures
from qdnet_keras.data.pictures import Pictures
from qdnet_keras.data.splits import assign_splits
from qdnet_keras.errors import ConfigError, DataError, QDNetError
from qdnet_keras.files import read_table, start_run, write_table, write_text
from qdnet_keras.hubs.card import Figure
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.model.scoring import score_files
from qdnet_keras.training.card import name_of, write_trained_card
from qdnet_keras.training.config import Config
from qdnet_keras.training.devices import fix_order_of_operations, is_chief
from qdnet_keras.training.fit import Batches, fit, wait_for_all
from qdnet_keras.training.release import agreement, as_released, release
from qdnet_keras.training.renderings import Renderings
from qdnet_keras.training.scores import fit_scores
from qdnet_keras.training.start import build_model, new_model

LIBRARIES = ("tensorflow", "keras", "tensorflow-probability", "numpy", "scipy", "pillow")


def train(
    manifest: Manifest,
    config: Config,
    run: str | Path,
    resume: bool = False,
    strategy: tf.distribute.Strategy | None = None,
) -> QDNet:
    """Trains as `config` says and leaves everything in the folder `run`.

    Args:
        manifest: All renderings. Splits that it brings are kept, otherwise validation scenes are
            drawn by group with the configuration's seed; test renderings are never touched.
        config: See `qdnet_keras.training.config`.
        run: Folder to create, or to continue when `resume` is true.
        resume: Continue from the last checkpoint. On CPUs the result is, to the last bit, that of
            a training without the stop, if TensorFlow has not been used in this process before.
        strategy: Devices and processes that share each batch, see `qdnet_keras.training.devices`.
            Of several processes the first writes the run's files; the others read checkpoints.

    Returns:
        The trained network with averaged weights and a filled bank.

    Raises:
        DataError, ImageError: If the data cannot be used.
        OutputError: If `run` holds anything and `resume` is false, or another configuration.
        ConfigError: If devices cannot share the batches.
        PresetError: If the start weights cannot be loaded.
        QDNetError: If the loss is no longer a number.
    """
    run = Path(run)
    fix_order_of_operations()
    strategy = strategy or tf.distribute.get_strategy()
    chief = is_chief(strategy)
    _check_shares(config, strategy.num_replicas_in_sync)
    if chief:
        start_run(run, "config.yaml", config.to_yaml(), resume)
        write_versions(run)
    keras.utils.set_random_seed(config.train.seed)
    manifest = assign_splits(manifest, val=config.data.validation_fraction, seed=config.train.seed)
    training, validation = manifest.select("train"), manifest.select("val")
    if not len(training) or not len(validation):
        raise DataError(
            f"{manifest.source} has no training or no validation pictures; give at least one "
            "group the split 'train' and another 'val', or leave the column out."
        )
    if chief:
        _write_splits(manifest, run / "splits.csv")
    pictures = training_pictures(training, config.data.max_side)

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
    elif config.train.score_steps:
        learnt = fit_scores(model, training, config.train.score_steps, config.train.seed)
        if chief:
            write_text(run / "scores.json", json.dumps(learnt._asdict(), indent=2) + "\n")
            manager.save(checkpoint_number=0)

    done = int(epoch)
    with named_failures(pictures):
        fit(
            model,
            lambda: new_model(config, training, steps),
            _pairs(training, pictures, config, done * steps),
            strategy,
            _watchers(run, training, validation, config, epoch, manager) if chief else [],
            initial_epoch=done,
            epochs=config.train.epochs,
            steps=steps,
        )
    if chief:
        _finish(run, model, training, validation, config)
    wait_for_all(strategy)
    return model


def _check_shares(config: Config, replicas: int) -> None:
    if config.data.batch_size % replicas:
        raise ConfigError(
            f"A batch of {config.data.batch_size} pairs cannot be shared equally by {replicas} "
            "devices; change data.batch_size."
        )
    if replicas > 1 and config.optimizer.accumulate > 1:
        raise ConfigError(
            "optimizer.accumulate is for one device; set it to 1 and enlarge data.batch_size."
        )


def _pairs(training: Manifest, pictures: Pictures, config: Config, start_step: int) -> Batches:
    def share(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return training_pairs(
            training,
            pictures,
            batch_size=config.data.batch_size,
            crop=config.data.crop,
            scale=config.data.scale,
            seed=config.train.seed,
            start_step=start_step,
            context=context,
        )

    return share


def _watchers(
    run: Path,
    training: Manifest,
    validation: Manifest,
    config: Config,
    epoch: tf.Variable,
    manager: tf.train.CheckpointManager,
) -> list[keras.callbacks.Callback]:
    validate = [] if config.train.score_steps else [ScoreValidation(training, validation)]
    return [
        *validate,
        Renderings(run, training, validation, config.train.pictures_every),
        keras.callbacks.TensorBoard(run / "tensorboard", write_graph=False, profile_batch=0),
        EpochRecord(run / "history.csv", int(epoch), epoch, manager),
    ]


def _finish(
    run: Path, model: QDNet, training: Manifest, validation: Manifest, config: Config
) -> None:
    """Makes the network fit for release, and writes what it reached and the preset."""
    said = release(model, training, validation, calibrated=bool(config.train.score_steps))
    reached = agreement(said.mos, validation.mos)
    files = [rendering.file.name for rendering in validation.renderings]
    rows = zip(files, validation.mos, said.mos, said.mos_std, strict=True)
    write_table(run / "validation.csv", ("file", "label", "mos", "mos_std"), rows)
    write_text(run / "validation.json", json.dumps(reached, indent=2) + "\n")
    model.save_to_preset(run / "preset")
    figures = [
        Figure(f"{name_of(training)}, validation", metric.upper(), round(value, 4))
        for metric, value in reached.items()
    ]
    network = model.get_config()
    write_trained_card(run / "preset", network, [training], figures, config.train.init)


@contextmanager
def named_failures(pictures: Pictures) -> Iterator[None]:
    """Lets the error of a picture that cannot be read out of TensorFlow's own."""
    try:
        yield
    except tf.errors.OpError as error:
        raise pictures.failure or error from None


def random_state(model: QDNet) -> list[tf.Variable]:
    """The states of all seed generators."""
    return [variable.value for variable in model.variables if "seed_generator" in variable.path]


class ScoreValidation(keras.callbacks.Callback):
    """Adds `val_srocc`, `val_plcc` and `val_rmse` on whole pictures to the epoch's logs.

    The network is validated as it would be released, and then put back.
    """

    def __init__(self, training: Manifest, validation: Manifest):
        super().__init__()
        self.training = training
        self.validation = validation

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        with as_released(self.model, self.training):
            predicted = score_files(self.model, self.validation)
        if logs is not None:
            reached = agreement(predicted, self.validation.mos)
            logs.update({f"val_{name}": value for name, value in reached.items()})


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
            self.rows = [dict(row) for row in read_table(history)[:done]]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        values = {name: float(value) for name, value in (logs or {}).items()}
        if not math.isfinite(values["loss"]):
            raise QDNetError(
                f"The loss is no longer a number in epoch {epoch + 1}; lower "
                "optimizer.learning_rate or set optimizer.clip_norm, and train again with --resume."
            )
        self.rows.append({"epoch": epoch + 1, **values})
        write_table(self.history, self.rows[0], (row.values() for row in self.rows))
        self.epoch.assign(epoch + 1)
        self.manager.save(checkpoint_number=epoch + 1)


def write_versions(run: Path) -> None:
    """Keeps which Python and libraries a run is made with."""
    versions = {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
    write_text(run / "versions.json", json.dumps(versions, indent=2) + "\n")


def _write_splits(manifest: Manifest, path: Path) -> None:
    rows = ((r.file.name, r.scene, r.group, r.split) for r in manifest.renderings)
    write_table(path, ("file", "scene", "group", "split"), rows)
