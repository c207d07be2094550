"""Batches of labelled pictures and of spoilt photographs, each a function of its number alone."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from qdnet_keras.training.people.config import BatchSection
from qdnet_keras.training.people.seen import Spoilt


class Labelled(NamedTuple):
    """Pictures with labels.

    Attributes:
        statistics: What the posterior sees of them, `[count, channels]` a stage.
        views: The same of another view of each.
        labels: `[count]`.
    """

    statistics: list[np.ndarray]
    views: list[np.ndarray]
    labels: np.ndarray

    def draw(self, random: np.random.Generator, count: int) -> dict[str, Any]:
        """`count` pictures, each as `[itself, its view]`."""
        indices = random.integers(0, len(self.labels), count)
        stages = zip(self.statistics, self.views, strict=True)
        return {
            "statistics": [np.stack([own[indices], view[indices]], 1) for own, view in stages],
            "votes": self.labels[indices],
        }


class Batches:
    """What `JointTraining` learns from.

    Args:
        sets: The first set with votes, and the others.
        spoilt: Photographs in several versions.
        labels: Of all versions, `[photographs, versions]`.
        photographs: Numbers of the photographs to draw from.
        sizes: Pictures of a batch.
    """

    def __init__(
        self,
        sets: list[Labelled],
        spoilt: Spoilt,
        labels: np.ndarray,
        photographs: np.ndarray,
        sizes: BatchSection,
    ):
        self.sets, self.spoilt, self.labels = sets, spoilt, labels
        self.photographs, self.sizes = photographs, sizes

    def get(self, random: np.random.Generator, photographs: np.ndarray) -> dict[str, Any]:
        """Drawn labelled pictures, and given photographs in all versions.

        `mixed` is, for each labelled picture, the number of another of its set, and `share` how
        much of that one is in the mixture of both.
        """
        counts = [self.sizes.first] + [self.sizes.other] * (len(self.sets) - 1)
        drawn = [part.draw(random, count) for part, count in zip(self.sets, counts, strict=True)]
        stages = zip(*(part["statistics"] for part in drawn), strict=True)
        starts = np.cumsum([0, *counts[:-1]])
        mixed = [
            start + random.permutation(count) for start, count in zip(starts, counts, strict=True)
        ]
        versions = self.spoilt.versions
        rows = (photographs[:, None] * versions + np.arange(versions)).ravel()
        shift = random.integers(1, versions, (len(photographs), 1))
        partner = (np.arange(versions) + shift) % versions
        partner += np.arange(len(photographs))[:, None] * versions
        return {
            "statistics": tuple(np.concatenate(stage) for stage in stages),
            "votes": np.concatenate([part["votes"] for part in drawn]),
            "mixed": np.concatenate(mixed).astype("int32"),
            "share": random.random(sum(counts), "float32"),
            "versions": tuple(stage[rows] for stage in self.spoilt.statistics),
            "pictures": self.spoilt.pictures[rows],
            "moments": self.spoilt.moments[rows],
            "contents": tuple(content[rows] for content in self.spoilt.contents),
            "strength": self.spoilt.strength[photographs],
            "labels": self.labels[photographs],
            "partner": partner.ravel().astype("int32"),
        }

    def training(self, seed: int, first: int) -> tf.data.Dataset:
        """Endless batches from number `first` on, of photographs drawn at random."""

        def batches() -> Iterator[dict[str, Any]]:
            number = first
            while True:
                random = np.random.default_rng([seed, number])
                yield self.get(random, random.choice(self.photographs, self.sizes.photographs))
                number += 1

        return self._dataset(batches)

    def once(self, seed: int) -> tf.data.Dataset:
        """All photographs once, for validation."""
        starts = range(0, len(self.photographs), self.sizes.photographs)

        def batches() -> Iterator[dict[str, Any]]:
            random = np.random.default_rng(seed)
            for start in starts:
                yield self.get(random, self.photographs[start : start + self.sizes.photographs])

        counted = tf.data.experimental.assert_cardinality(len(starts))
        return self._dataset(batches).apply(counted)

    def _dataset(self, batches: Any) -> tf.data.Dataset:
        example = self.get(np.random.default_rng(0), self.photographs[:1])
        signature = tf.nest.map_structure(
            lambda array: tf.TensorSpec([None, *array.shape[1:]], array.dtype), example
        )
        return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(2)
