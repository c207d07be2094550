from typing import Any

import keras
import numpy as np
from keras import ops

from qdnet_keras.model.types import Shape, Tensor

QUANTILE, MARGIN = 0.99, 1.0
SMALLEST_UNIT = 1e-6
NOISE = 1e-3  # standard deviation added to each statistic


@keras.saving.register_keras_serializable("qdnet_keras")
class Novelty(keras.layers.Layer):
    """How unlike the training pictures a picture's statistics are; above 1: of another kind.

    Statistics of photographs vary together. The squared Mahalanobis distance from the training
    pictures tells scans, charts, screenshots and noise from photographs, however they were
    rendered. Its unit is `MARGIN` times what all but 1 % of the training pictures stay below: on
    photographs of other cameras and scenes it is larger than on those.

    Call arguments:
        statistics: Tensor `(batch_size, count)`, μ ⊕ σ of one stage.

    Returns:
        Tensor `(batch_size,)`, ≥ 0. 0 for a layer that was not adapted.
    """

    def build(self, statistics_shape: Shape) -> None:
        count = statistics_shape[-1]
        self.mean = self._add("mean", (count,), "zeros")
        self.whitening = self._add("whitening", (count, count), "zeros")
        self.limit = self._add("limit", (), "ones")

    def _add(self, name: str, shape: Shape, initializer: Any) -> keras.Variable:
        return self.add_weight(
            name=name, shape=shape, initializer=initializer, trainable=False, dtype="float32"
        )

    def call(self, statistics: Tensor) -> Tensor:
        return self._distance(statistics) / self.limit

    def _distance(self, statistics: Tensor) -> Tensor:
        white = ops.matmul(statistics - self.mean, self.whitening)
        return ops.mean(ops.square(white), axis=-1)

    def adapt(self, statistics: Tensor) -> None:
        """Learns mean, covariance and limit of training pictures.

        Args:
            statistics: Array `(pictures, count)`.
        """
        statistics = np.asarray(statistics, "float64")
        covariance = np.cov(statistics, rowvar=False, bias=True)
        variances, directions = np.linalg.eigh(covariance + NOISE**2 * np.eye(len(covariance)))
        self.mean.assign(statistics.mean(0))
        self.whitening.assign(directions / np.sqrt(variances))
        distances = np.asarray(self._distance(ops.cast(statistics, "float32")))
        self.limit.assign(max(MARGIN * float(np.quantile(distances, QUANTILE)), SMALLEST_UNIT))

    def compute_output_shape(self, statistics_shape: Shape) -> Shape:
        return statistics_shape[:1]
