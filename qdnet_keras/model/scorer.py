"""Q: the regressor from latent quality to opinion score."""

from collections.abc import Sequence
from typing import Any

import keras

from qdnet_keras.model.replicas import Dropout
from qdnet_keras.model.types import Shape, Tensor


@keras.saving.register_keras_serializable("qdnet_keras")
class Scorer(keras.layers.Layer):
    """Four dense layers from z to the standardised score, with dropout between them.

    Args:
        units: Widths of the three hidden layers.
        dropout: Dropout rate after each hidden layer.

    Call arguments:
        z: Latent quality of shape `(batch_size, latent_dim)`.

    Returns:
        Standardised score of shape `(batch_size,)`; `QDNet.score_latent` turns it into MOS units.
    """

    def __init__(
        self, units: Sequence[int] = (128, 128, 64), dropout: float = 0.5, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units = tuple(units)
        self.dropout = dropout
        policy = self.dtype_policy
        self.hidden = [
            keras.layers.Dense(width, "relu", dtype=policy, name=f"hidden_{i}")
            for i, width in enumerate(self.units)
        ]
        self.drop = Dropout(dropout, dtype=policy)
        self.output_layer = keras.layers.Dense(1, dtype=policy, name="score")

    def build(self, z_shape: Shape) -> None:
        for layer in (*self.hidden, self.output_layer):
            layer.build(z_shape)
            z_shape = layer.compute_output_shape(z_shape)

    def call(self, z: Tensor, training: bool = False) -> Tensor:
        for layer in self.hidden:
            z = self.drop(layer(z), training=training)
        return self.output_layer(z)[:, 0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": list(self.units), "dropout": self.dropout}
