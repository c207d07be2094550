import keras
import tensorflow as tf

from qdnet_keras.model.types import Shape, Tensor


@keras.saving.register_keras_serializable("qdnet_keras")
class ResizeLike(keras.layers.Layer):
    """Resizes features bilinearly to the height and width of a reference.

    A decoder stage resized to its skip connection needs no padding, so pictures of odd sizes
    are decoded exactly and without dark borders.

    Call arguments:
        features: Tensor of shape `(batch_size, height, width, channels)`.
        reference: Tensor of shape `(batch_size, new_height, new_width, any)`.

    Returns:
        Tensor of shape `(batch_size, new_height, new_width, channels)`, compute dtype.
    """

    def call(self, features: Tensor, reference: Tensor) -> Tensor:
        resized = tf.image.resize(features, tf.shape(reference)[1:3], method="bilinear")
        return tf.cast(resized, self.compute_dtype)

    def compute_output_shape(self, features_shape: Shape, reference_shape: Shape) -> Shape:
        return (features_shape[0], *reference_shape[1:3], features_shape[-1])
