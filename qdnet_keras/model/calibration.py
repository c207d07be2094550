"""The learnt scales between what Q computes, opinion scores and ranks."""

from typing import Any

import keras
import numpy as np
from keras import ops

from qdnet_keras.model.types import Shape, Tensor

LEARNT = {"mos_mean": 50.0, "mos_std": 12.0, "residual_std": 0.0}  # before anything is learnt
PERCENTS = np.arange(2.0, 99.0, 2.0, dtype="float32")  # of renderings, where their MOS is known


@keras.saving.register_keras_serializable("qdnet_keras")
class Calibration(keras.layers.Layer):
    """MOS of standardised scores, `mos_mean + mos_std * score`, and the rank of a MOS.

    Training measures what are weights here, float32: `mos_mean` and `mos_std`, MOS units;
    `residual_std`, the standard deviation of what labels differ from scores besides the
    posterior's spread, MOS units; and `quantiles`, the MOS below which 2, 4 .. 98 % of the
    renderings lie that a picture is compared with.

    Call arguments:
        score: Standardised scores of any shape.

    Returns:
        MOS units, not clipped, same shape.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, value in LEARNT.items():
            self._add(name, (), keras.initializers.Constant(value))
        start = np.linspace(LEARNT["mos_mean"] - 24.0, LEARNT["mos_mean"] + 24.0, len(PERCENTS))
        self._add("quantiles", PERCENTS.shape, lambda shape, dtype: ops.array(start, dtype))

    def _add(self, name: str, shape: Shape, initializer: Any) -> None:
        weight = self.add_weight(shape, initializer, "float32", trainable=False, name=name)
        setattr(self, name, weight)

    def call(self, score: Tensor) -> Tensor:
        return self.mos_mean + self.mos_std * score

    def standardise(self, mos: Tensor) -> Tensor:
        """The inverse of the call."""
        return (ops.cast(mos, "float32") - self.mos_mean) / self.mos_std

    def spread(self, spread: Tensor) -> Tensor:
        """Standard deviation of a label, MOS units, of the posterior's, `(batch_size,)`."""
        return ops.sqrt(ops.square(spread) + ops.square(self.residual_std))

    def rank(self, mos: Tensor) -> Tensor:
        """Share of the renderings that lie below a MOS, in per cent, `(batch_size,)` each.

        Linear between the quantiles; beyond the outermost it approaches 0 and 100, as steep there
        as between the last two, and never reaches them.
        """
        quantiles = ops.convert_to_tensor(self.quantiles)
        low, high = quantiles[:-1], quantiles[1:]
        steps = ops.clip((mos[:, None] - low) / (high - low), 0.0, 1.0)
        inside = PERCENTS[0] + ops.matmul(steps, ops.array(np.diff(PERCENTS)))
        below = ops.minimum(mos - low[0], 0.0) / (high[0] - low[0])
        above = ops.minimum(high[-1] - mos, 0.0) / (high[-1] - low[-1])
        tail = PERCENTS[0] * (ops.exp(below) - ops.exp(above))
        return inside + tail

    def compare_with(self, mos: Tensor) -> None:
        """Learns `quantiles` from the MOS of renderings, array `(count,)`, none equal in all."""
        known = np.percentile(np.asarray(mos, "float64"), PERCENTS)
        self.quantiles.assign(np.maximum.accumulate(known + 1e-3 * np.arange(len(known))))

    def compute_output_shape(self, score_shape: Shape) -> Shape:
        return score_shape
