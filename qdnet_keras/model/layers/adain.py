from typing import Any

import keras
from keras import ops

from qdnet_keras.model.layers.instance_split import InstanceSplit
from qdnet_keras.model.types import Shape, Tensor


@keras.saving.register_keras_serializable("qdnet_keras")
class AdaIN(keras.layers.Layer):
    """Adaptive instance normalisation: the latent quality sets each channel's mean and spread.

    `(1 + scale(z)) * (features - mean) / std + shift(z)` with scale and shift linear in z.

    Call arguments:
        features: Tensor of shape `(batch_size, height, width, channels)`.
        z: Latent quality of shape `(batch_size, latent_dim)`, float32.

    Returns:
        Tensor of the shape of `features`, compute dtype.

    Reference:
        Huang and Belongie, "Arbitrary Style Transfer in Real-time with Adaptive Instance
        Normalization", ICCV 2017, eq. (8).
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.split = InstanceSplit(dtype=self.dtype_policy)

    def build(self, features_shape: Shape, z_shape: Shape) -> None:
        self.split.build(features_shape)
        self.modulation = keras.layers.Dense(
            2 * features_shape[-1], dtype="float32", name="modulation"
        )
        self.modulation.build(z_shape)

    def call(self, features: Tensor, z: Tensor) -> Tensor:
        content, _, _ = self.split(features)
        scale, shift = ops.split(self.modulation(z)[:, None, None, :], 2, axis=-1)
        return content * ops.cast(1.0 + scale, content.dtype) + ops.cast(shift, content.dtype)

    def compute_output_shape(self, features_shape: Shape, z_shape: Shape) -> Shape:
        return features_shape


@keras.saving.register_keras_serializable("qdnet_keras")
class AdaINBlock(keras.layers.Layer):
    """Two 3×3 convolutions, each followed by `AdaIN` and ReLU, around a residual connection.

    Borders are padded with mirrored features: zero padding draws dark frames.

    Args:
        filters: Number of output channels; a 1×1 convolution adapts the input to it.

    Call arguments:
        features: Tensor of shape `(batch_size, height, width, channels)`.
        z: Latent quality of shape `(batch_size, latent_dim)`, float32.

    Returns:
        Tensor of shape `(batch_size, height, width, filters)`, compute dtype.
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        policy = self.dtype_policy
        self.filters = filters
        self.adapt = keras.layers.Conv2D(filters, 1, dtype=policy, name="adapt")
        self.convs = [
            keras.layers.Conv2D(filters, 3, dtype=policy, name=f"conv_{i}") for i in range(2)
        ]
        self.norms = [AdaIN(dtype=policy, name=f"adain_{i}") for i in range(2)]

    def build(self, features_shape: Shape, z_shape: Shape) -> None:
        inner = (features_shape[0], None, None, self.filters)
        self.adapt.build(features_shape)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            conv.build(inner)
            norm.build(inner, z_shape)

    def call(self, features: Tensor, z: Tensor) -> Tensor:
        features = self.adapt(features)
        residual = features
        for conv, norm in zip(self.convs, self.norms, strict=True):
            padded = ops.pad(residual, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="symmetric")
            residual = ops.relu(norm(conv(padded), z))
        return features + residual

    def compute_output_shape(self, features_shape: Shape, z_shape: Shape) -> Shape:
        return (*features_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters}
