"""Teaches a network from people's votes of several sets, into a run folder that can be resumed.

RUN/config.yaml      the whole configuration
RUN/versions.json    of Python and the libraries
RUN/seen/            which picture was used for what, and what the encoder says of all of them
RUN/scores/          of the first stage, in which everything but the encoder learns, and
RUN/renderings/      of the second, in which only the decoder and the restorer do:
    history.csv      one row an epoch
    tensorboard/     the same for TensorBoard
    checkpoint/      network, optimiser, random state and epoch, replaced atomically
RUN/validation.json  what the network reaches on pictures held out
RUN/preset/          the trained network, for `--preset RUN/preset`
"""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from qdnet_keras.files import start_run, write_text
from qdnet_keras.model.encoder import RESNET50_TAPS, Encoder
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.training.devices import fix_order_of_operations
from qdnet_keras.training.loop import EpochRecord, random_state, write_versions
from qdnet_keras.training.people.batches import Batches, Labelled
from qdnet_keras.training.people.config import PeopleConfig
from qdnet_keras.training.people.finish import calibrate, locate, remember
from qdnet_keras.training.people.joint import JointTraining
from qdnet_keras.training.people.sources import Pictures, Seen, Sources, see
from qdnet_keras.training.people.teachers import (
    PublishedTeacher,
    VoteTeacher,
    link,
    smoothed,
    together,
)
from qdnet_keras.training.release import agreement
from qdnet_keras.training.start import build_optimizer

LEAST_AGREEMENT = 0.1  # of scores with votes, whatever is measured: better stays higher


def build(config: PeopleConfig) -> QDNet:
    """The network that a configuration asks for.

    Raises:
        PresetError: If the encoder's weights cannot be loaded.
    """
    fix_order_of_operations()
    keras.utils.set_random_seed(config.train.seed)
    options = config.model
    taps, weights = options.taps or RESNET50_TAPS, options.encoder_weights
    encoder = Encoder(options.network, taps, options.pyramid, weights, name="encoder")
    rest = options.model_dump(exclude={"network", "taps", "pyramid", "encoder_weights"})
    model = QDNet(encoder, **rest, bank_size=config.calibration.bank)
    model.build()
    return model


def teach(
    model: QDNet, sources: Sources, config: PeopleConfig, run: Path, resume: bool = False
) -> dict[str, Any]:
    """Teaches `model`, whose encoder stays as it is, and leaves everything in the folder `run`.

    Splits that sets bring are kept, otherwise validation groups are drawn; test pictures are never
    touched. A run that stopped goes on: `seen/` with the next picture, the training with the epoch
    after the last checkpoint.

    Returns:
        What stands in `validation.json`: `votes`, the `srocc` and `plcc` of each set; `order`, the
        share of spoilt versions below their photograph; and the terms of photographs held out, see
        `qdnet_keras.training.people.joint`.

    Raises:
        DataError, ImageError: If the data cannot be used.
        OutputError: If `run` exists already and `resume` is false, has other settings or data, or
            has no room.
        QDNetError: If the loss is no longer a number.
    """
    start_run(run, "config.yaml", config.to_yaml(), resume)
    write_versions(run)
    model.encoder.freeze("encoder")
    model.restorer.trainable = True
    seen = see(model, sources, config, run / "seen")
    training, validation = _lessons(model, seen, sources, config)
    joint = _train(model, training, config, run)
    reached = _validate(joint, seen, validation, config.train.seed)
    known = max(float(np.mean([votes["plcc"] for votes in reached["votes"]])), LEAST_AGREEMENT)
    _finish(model, seen, sources, config, known)
    write_text(run / "validation.json", json.dumps(reached, indent=2) + "\n")
    model.save_to_preset(run / "preset")
    return reached


def _lessons(
    model: QDNet, seen: Seen, sources: Sources, config: PeopleConfig
) -> tuple[Batches, Batches]:
    """What to learn from, and the same with the photographs that are held out."""
    stages = len(model.z_stages)
    published_stage = stages + model.picture_statistics.index("published")
    first, *others = (pictures.split("train") for pictures in seen.votes)
    renderings = seen.renderings.split("train")
    votes = VoteTeacher(first.statistics[:stages], first.manifest.mos)
    published = PublishedTeacher(
        sources.statistics, sources.published.mos, renderings.statistics[published_stage]
    )

    def said(statistics: list[np.ndarray]) -> np.ndarray:
        opinions = votes(statistics[:stages]), published(statistics[published_stage])
        return together(*opinions, config.loss.published)

    def labelled(pictures: Pictures, labels: np.ndarray) -> Labelled:
        return Labelled(pictures.statistics, pictures.views, labels.astype("float32"))

    opinions = [said(pictures.statistics) for pictures in (first, *others)]
    sets = []
    for pictures, opinion in zip((first, *others), opinions, strict=True):
        labels = link(pictures.manifest.mos, opinion, opinions[0].std())
        groups = [rendering.group for rendering in pictures.manifest.renderings]
        statistics = pictures.statistics[:stages]
        sets.append(labelled(pictures, smoothed(labels, statistics, groups, config.loss.smoothing)))
    sets.append(labelled(renderings, said(renderings.statistics)))
    labels = said(seen.spoilt.statistics).reshape(seen.spoilt.count, seen.spoilt.versions)
    numbers = np.split(np.arange(seen.spoilt.count), [seen.spoilt.count - seen.held_out])
    training, validation = (
        Batches(sets, seen.spoilt, labels, part, config.batch) for part in numbers
    )
    return training, validation


def _train(model: QDNet, lessons: Batches, config: PeopleConfig, run: Path) -> JointTraining:
    """Teaches everything at once, then, with scores as they are, how to render."""
    model.posterior.adapt(lessons.sets[0].statistics)
    stages = {"scores": config.train.epochs, "renderings": config.train.rendering_epochs}
    for stage, epochs in stages.items():
        model.posterior.trainable = model.scorer.trainable = stage == "scores"
        joint = JointTraining(
            model, config.loss, round(config.loss.kl_warmup * epochs * config.train.steps_per_epoch)
        )
        _fit(joint, lessons, config, epochs, run / stage)
    model.posterior.trainable = model.scorer.trainable = True
    return joint


def _fit(
    joint: JointTraining, lessons: Batches, config: PeopleConfig, epochs: int, folder: Path
) -> None:
    """Trains, or goes on from the last checkpoint, and gives the network averaged weights."""
    model, steps, seed = joint.network, config.train.steps_per_epoch, config.train.seed
    optimizer = build_optimizer(config.optimizer, steps, epochs)
    joint.compile(optimizer=optimizer, jit_compile=False)
    optimizer.build(model.trainable_variables)
    epoch = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(
        weights=[weight.value for weight in model.weights],
        optimizer=optimizer,
        epoch=epoch,
        random_state=random_state(model),
    )
    manager = tf.train.CheckpointManager(checkpoint, folder / "checkpoint", max_to_keep=2)
    if manager.latest_checkpoint:
        checkpoint.restore(manager.latest_checkpoint).assert_consumed()
    done = int(epoch)
    if done < epochs:
        joint.fit(
            lessons.training(seed, done * steps),
            initial_epoch=done,
            epochs=epochs,
            steps_per_epoch=steps,
            shuffle=False,
            callbacks=[
                keras.callbacks.TensorBoard(folder / "tensorboard", write_graph=False),
                EpochRecord(folder / "history.csv", done, epoch, manager),
            ],
        )
    if config.optimizer.weight_average:
        optimizer.finalize_variable_values(model.trainable_variables)


def _finish(
    model: QDNet, seen: Seen, sources: Sources, config: PeopleConfig, agreement: float
) -> None:
    first, renderings = seen.votes[0].split("train"), seen.renderings
    good = locate(model, renderings.without_faults().statistics)
    calibrate(model, good, sources.published.mos, agreement)
    spoilt = locate(model, [stage[: len(renderings.manifest)] for stage in seen.spoilt.statistics])
    latents = np.concatenate([locate(model, renderings.statistics), spoilt])
    usual = np.concatenate([first.statistics[0], renderings.statistics[0]])
    remember(model, latents, usual, config.train.seed)


def _validate(joint: JointTraining, seen: Seen, lessons: Batches, seed: int) -> dict[str, Any]:
    model, spoilt = joint.network, seen.spoilt
    reached = []
    for pictures in (votes.split("val") for votes in seen.votes):
        score = np.asarray(model.score_latent(locate(model, pictures.statistics)))
        known = agreement(score, pictures.manifest.mos)
        source = str(pictures.manifest.source)
        reached.append({"set": source, "srocc": known["srocc"], "plcc": known["plcc"]})
    rows = slice(lessons.photographs[0] * spoilt.versions, None)
    score = model.scorer(locate(model, [stage[rows] for stage in spoilt.statistics]))
    score = np.reshape(score, (-1, spoilt.versions))
    terms = joint.evaluate(lessons.once(seed), return_dict=True, verbose=0)
    kept = ("reconstruction", "swap", "restoration")
    return {
        "votes": reached,
        "order": float((score[:, :1] > score[:, 1:]).mean()),
        **{name: float(terms[name]) for name in kept},
    }
