"""A student that learns to say of pictures what a teacher says of them."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from sklearn.metrics import r2_score

from qdnet_keras.model.encoder import Encoder
from qdnet_keras.model.layers import InstanceSplit
from qdnet_keras.model.types import Shape, Tensor

LIMIT = 4.0  # standard deviations of a target
EPSILON = 1e-6  # of variances


class EncoderLesson(keras.Model):
    """Teaches an encoder the statistics of another, batch by batch of pictures.

    Both see the same pixels. Targets are μ ⊕ σ of the teacher's stages 1 to 5 (of its pyramid) and
    the means of its last tap, "pooled"; all standardised and softly limited to ±4. The student's
    μ ⊕ σ of its own stage of that size, of the last for "pooled", leads to each by a head that is
    linear. The loss is the mean squared error, each stage weighing the same.

    Args:
        student: Learns; its BatchNorm too.
        teacher: Stays as it is.

    Call arguments:
        image: Tensor `(batch_size, height, width, 3)`, sRGB-encoded, values in 0..1.

    Returns:
        What the student says, a list of tensors `(batch_size, targets_i)` as `targets` gives.
    """

    def __init__(self, student: Encoder, teacher: Encoder):
        super().__init__(name="encoder_lesson")
        self.student, self.teacher = student, teacher
        teacher.trainable = False
        self.instance_split = InstanceSplit()
        widths = [2 * teacher.channels[stage] for stage in teacher.pyramid[1:]]
        widths.append(teacher.channels[-1])
        self.names = [*(f"stage{number}" for number in range(1, len(widths))), "pooled"]
        self.standardise = [_standardisation(trainable=False) for _ in self.names]
        seen = [2 * student.channels[stage] for stage in student.pyramid[1:]]
        self.seen = [*seen, seen[-1]]
        self.heads = [_head(*pair) for pair in zip(self.seen, widths, strict=True)]
        self.errors = [keras.metrics.Mean(name) for name in self.names]
        self.cosine = keras.metrics.Mean("cosine")

    def build(self, image_shape: Shape) -> None:
        for head, seen in zip(self.heads, self.seen, strict=True):
            head.build((None, seen))
        for standardise, head in zip(self.standardise, self.heads, strict=True):
            standardise.build(head.output_shape)

    def call(self, image: Tensor, training: bool = False) -> list[Tensor]:
        seen = self._statistics(self.student, self.student(image, training=training))
        stages = zip(self.heads, [*seen, seen[-1]], strict=True)
        return [head(statistics, training=training) for head, statistics in stages]

    def adapt(self, pictures: Sequence[Tensor]) -> None:
        """Sets the standardisation of targets to what the teacher says of batches of pictures."""
        batches = [[np.asarray(stage) for stage in self._said(batch)] for batch in pictures]
        for standardise, stages in zip(self.standardise, zip(*batches, strict=True), strict=True):
            said = np.concatenate(stages).astype("float64")
            standardise.moving_mean.assign(said.mean(0))
            standardise.moving_variance.assign(said.var(0))

    def targets(self, image: Tensor) -> list[Tensor]:
        """What the teacher says, standardised, `(batch_size, targets_i)` a stage."""
        stages = zip(self.standardise, self._said(image), strict=True)
        return [LIMIT * ops.tanh(standardise(said) / LIMIT) for standardise, said in stages]

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Sequence[Tensor] = (),
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        targets = self.targets(x)
        errors = [ops.mean(ops.square(t - p)) for t, p in zip(targets, y_pred, strict=True)]
        for metric, error in zip(self.errors, errors, strict=True):
            metric.update_state(error)
        self.cosine.update_state(cosine(targets[-1], y_pred[-1]))
        return sum(errors) / len(errors)

    def examine(self, pictures: Sequence[Tensor]) -> dict[str, Any]:
        """How well the student says what the teacher does, of batches of pictures.

        BatchNorm normalises as in use.

        Returns:
            `loss`; `cosine` of the pooled features, the mean over pictures; and `r2`, the share of
            the variance that is explained, by stage.
        """
        answers = [(self.targets(image), self(image, training=False)) for image in pictures]
        targets, said = (
            [np.concatenate(stage) for stage in zip(*part, strict=True)]
            for part in zip(*answers, strict=True)
        )
        pairs = list(zip(targets, said, strict=True))
        explained = [r2_score(*pair, multioutput="variance_weighted") for pair in pairs]
        return {
            "loss": float(np.mean([np.square(target - answer).mean() for target, answer in pairs])),
            "cosine": float(np.mean(cosine(targets[-1], said[-1]))),
            "r2": dict(zip(self.names, map(float, explained), strict=True)),
        }

    def _said(self, image: Tensor) -> list[Tensor]:
        taps = self.teacher(image, training=False)
        return [*self._statistics(self.teacher, taps), ops.mean(taps[-1], axis=(1, 2))]

    def _statistics(self, encoder: Encoder, taps: list[Tensor]) -> list[Tensor]:
        """μ ⊕ σ of the stages of an encoder's pyramid, but of the picture itself."""
        stages = [self.instance_split(taps[stage])[1:] for stage in encoder.pyramid[1:]]
        return [ops.concatenate(statistics, axis=-1) for statistics in stages]


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Of each of `(batch_size, dimensions)`; 0 where one of the two is nothing."""
    return ops.sum(ops.normalize(first) * ops.normalize(second), axis=-1)


def _head(seen: int, width: int) -> keras.Sequential:
    """Linear, from standardised statistics whose norm does not grow with their number `seen`.

    Adam moves each weight as far, whatever their number: without the norm, those of the widest
    stage would move the output by more than there is to learn.
    """
    return keras.Sequential(
        [
            _standardisation(),
            keras.layers.Rescaling(seen**-0.5),
            keras.layers.Dense(width, kernel_initializer="zeros"),
        ]
    )


def _standardisation(trainable: bool = True) -> keras.layers.Layer:
    return keras.layers.BatchNormalization(
        momentum=0.9, center=False, scale=False, epsilon=EPSILON, trainable=trainable
    )
