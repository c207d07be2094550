import keras
import numpy as np
from keras import ops

COMPONENTS = 100
LARGEST = 100.0  # squared standard deviations that one statistic counts at most
QUANTILE, MARGIN = 0.99, 8.5
SMALLEST_UNIT = 1e-6


@keras.saving.register_keras_serializable("qdnet_keras")
class Novelty(keras.layers.Layer):
    """How unlike the pictures learnt from a picture's statistics are; above 1: of another kind.

    Statistics of photographs vary together. What the leading principal components of the training
    pictures cannot explain of a picture (mean square, in standard deviations, each statistic
    limited) tells scans, drawings, screenshots and noise from photographs, however they were
    rendered. The unit is `MARGIN` times what all but 1 % of the training pictures stay below: on
    photographs of other cameras and scenes it is larger than on those.

    Call arguments:
        statistics: Tensor `(batch_size, count)`.

    Returns:
        Tensor `(batch_size,)`, ≥ 0. 0 for a layer that was not adapted.
    """

    def build(self, statistics_shape):
        count = statistics_shape[-1]
        self.mean = self._add("mean", (count,), "zeros")
        self.scale = self._add("scale", (count,), "zeros")
        self.basis = self._add("basis", (count, COMPONENTS), "zeros")
        self.limit = self._add("limit", (), "ones")

    def _add(self, name, shape, initializer):
        return self.add_weight(
            name=name, shape=shape, initializer=initializer, trainable=False, dtype="float32"
        )

    def call(self, statistics):
        return self._unexplained(statistics) / self.limit

    def _unexplained(self, statistics):
        standardised = (statistics - self.mean) * self.scale
        explained = ops.matmul(ops.matmul(standardised, self.basis), ops.transpose(self.basis))
        square = ops.square(standardised - explained)
        return ops.mean(ops.minimum(square, LARGEST), axis=-1)

    def adapt(self, statistics):
        """Learns what is common among training pictures.

        Args:
            statistics: Array `(pictures, count)`.
        """
        statistics = np.asarray(statistics, "float64")
        self.mean.assign(statistics.mean(0))
        self.scale.assign(1.0 / (statistics.std(0) + 1e-3))
        standardised = (statistics - statistics.mean(0)) * np.asarray(self.scale)
        components = np.linalg.svd(standardised, full_matrices=False)[2][:COMPONENTS].T
        basis = np.zeros(self.basis.shape)
        basis[:, : components.shape[1]] = components
        self.basis.assign(basis)
        unexplained = np.asarray(self._unexplained(ops.cast(statistics, "float32")))
        self.limit.assign(max(MARGIN * float(np.quantile(unexplained, QUANTILE)), SMALLEST_UNIT))

    def compute_output_shape(self, statistics_shape):
        return statistics_shape[:1]
