"""Where a picture's quality would lie if the picture were as good as its scene allows."""

from typing import Any

import keras
from keras import ops

from qdnet_keras.model.types import Shape, Tensor


@keras.saving.register_keras_serializable("qdnet_keras")
class Restorer(keras.layers.Layer):
    """The quality z̄ that a picture most likely had before it was spoilt.

    It is learnt from well-liked photographs and deliberately spoilt versions of them: the spoilt
    one, rendered at the z̄ given here, should be the photograph. Enhancement tries it first, before
    qualities of other pictures. `Objective` does not teach it: in `QDNet` it is not trainable.

    Args:
        units: Width of the hidden layer.

    Call arguments:
        description: What `GaussianPosterior.describe` gives, `(batch_size, count)`.
        z: Latent quality `(batch_size, latent_dim)`.

    Returns:
        Latent quality of the shape of `z`, float32; `z` itself before training.
    """

    def __init__(self, units: int = 128, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.hidden = keras.layers.Dense(units, "gelu", dtype=self.dtype_policy, name="hidden")

    def build(self, description_shape: Shape, z_shape: Shape) -> None:
        self.step = keras.layers.Dense(
            z_shape[-1], kernel_initializer="zeros", dtype=self.dtype_policy, name="step"
        )
        self.hidden.build((None, description_shape[-1] + z_shape[-1]))
        self.step.build((None, self.units))

    def call(self, description: Tensor, z: Tensor) -> Tensor:
        return z + self.step(self.hidden(ops.concatenate([description, z], axis=-1)))

    def compute_output_shape(self, description_shape: Shape, z_shape: Shape) -> Shape:
        return z_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}
