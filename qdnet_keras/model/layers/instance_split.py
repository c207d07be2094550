from typing import Any

import keras
from keras import ops

from qdnet_keras.model.types import Tensor


@keras.saving.register_keras_serializable("qdnet_keras")
class InstanceSplit(keras.layers.Layer):
    """Splits features into content and quality statistics (the paper's n, μ and σ).

    Each channel of each picture is normalised by its own spatial mean and standard deviation:
    `content = (features - mean) / std` with `std = sqrt(variance + epsilon)`. The statistics are
    computed and returned in float32 whatever the dtype policy, because a half-precision variance
    of large activations is not a number.

    Args:
        epsilon: Positive float added to the variance.

    Call arguments:
        features: Tensor of shape `(batch_size, height, width, channels)`, any float dtype.

    Returns:
        A tuple `(content, mean, std)`: content has the shape of `features` and the compute dtype;
        mean and std have shape `(batch_size, channels)` and dtype float32.

    Reference:
        Wang et al., "Blind Tone-mapped Image Quality Assessment and Enhancement via
        Disentangled Representation Learning": n = (t − μ)/σ.
    """

    def __init__(self, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.epsilon = epsilon

    def call(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = ops.cast(features, "float32")
        mean, variance = ops.moments(features, axes=(1, 2), keepdims=True)
        std = ops.sqrt(variance + self.epsilon)
        content = ops.cast((features - mean) / std, self.compute_dtype)
        return content, mean[:, 0, 0, :], std[:, 0, 0, :]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}
