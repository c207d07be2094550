import keras
import numpy as np
import tensorflow as tf

from qdnet_keras.model.layers.tone_grid import luminance
from qdnet_keras.model.types import Shape, Tensor

QUANTILES = np.linspace(0.0, 1.0, 17)[1:-1]
STATISTICS = 6 + len(QUANTILES)
STRIDE = 2  # pixels between those whose luminance is sorted
EPSILON = 1e-5


@keras.saving.register_keras_serializable("qdnet_keras")
class TonalStatistics(keras.layers.Layer):
    """How a picture's light is spread: what a change of tones must know to undo or to match one.

    Mean and standard deviation of red, green and blue, and 15 quantiles (1/16 .. 15/16) of
    luminance. There are no weights; everything is float32.

    Call arguments:
        image: Tensor `(batch_size, height, width, 3)`, sRGB-encoded, values in 0..1.

    Returns:
        Tensor `(batch_size, STATISTICS)`.
    """

    def call(self, image: Tensor) -> Tensor:
        image = tf.cast(image, tf.float32)
        mean, variance = tf.nn.moments(image, [1, 2])
        light = luminance(image[:, ::STRIDE, ::STRIDE])
        light = tf.sort(tf.reshape(light, [tf.shape(image)[0], -1]), axis=-1)
        position = QUANTILES.astype("float32") * tf.cast(tf.shape(light)[1] - 1, tf.float32)
        below = tf.cast(position, tf.int32)
        share = position - tf.cast(below, tf.float32)
        above = tf.minimum(below + 1, tf.shape(light)[1] - 1)
        quantiles = tf.gather(light, below, axis=1) * (1.0 - share)
        quantiles += tf.gather(light, above, axis=1) * share
        return tf.concat([mean, tf.sqrt(variance + EPSILON), quantiles], axis=-1)

    def compute_output_shape(self, image_shape: Shape) -> Shape:
        return (image_shape[0], STATISTICS)
