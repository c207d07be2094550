"""Q: the regressor from latent quality to opinion score."""

import keras


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

    def __init__(self, units=(128, 128, 64), dropout=0.5, **kwargs):
        super().__init__(**kwargs)
        self.units = tuple(units)
        self.dropout = dropout
        policy = self.dtype_policy
        self.hidden = [
            keras.layers.Dense(width, "relu", dtype=policy, name=f"hidden_{i}")
            for i, width in enumerate(self.units)
        ]
        self.drop = keras.layers.Dropout(dropout, dtype=policy)
        self.output_layer = keras.layers.Dense(1, dtype=policy, name="score")

    def build(self, z_shape):
        for layer in (*self.hidden, self.output_layer):
            layer.build(z_shape)
            z_shape = layer.compute_output_shape(z_shape)

    def call(self, z, training=False):
        for layer in self.hidden:
            z = self.drop(layer(z), training=training)
        return self.output_layer(z)[:, 0]

    def get_config(self):
        return {**super().get_config(), "units": list(self.units), "dropout": self.dropout}
