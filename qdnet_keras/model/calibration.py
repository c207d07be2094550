"""The learnt scale between what Q computes and opinion scores."""

import keras
from keras import ops

LEARNT = {"mos_mean": 50.0, "mos_std": 12.0, "residual_std": 0.0}  # before anything is learnt


@keras.saving.register_keras_serializable("qdnet_keras")
class Calibration(keras.layers.Layer):
    """MOS of standardised scores: `mos_mean + mos_std * score`.

    Training measures three numbers, which are weights: `mos_mean` and `mos_std`, MOS units, and
    `residual_std`, the standard deviation of what labels differ from scores besides the
    posterior's spread, MOS units. Everything is float32.

    Call arguments:
        score: Standardised scores of any shape.

    Returns:
        MOS units, not clipped, same shape.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        for name, value in LEARNT.items():
            initializer = keras.initializers.Constant(value)
            weight = self.add_weight((), initializer, "float32", trainable=False, name=name)
            setattr(self, name, weight)

    def call(self, score):
        return self.mos_mean + self.mos_std * score

    def standardise(self, mos):
        """The inverse of the call."""
        return (ops.cast(mos, "float32") - self.mos_mean) / self.mos_std

    def compute_output_shape(self, score_shape):
        return score_shape
