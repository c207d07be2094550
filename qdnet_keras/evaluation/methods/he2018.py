"""He et al.: He, Li, Jiang, Jiang, "Quality Assessment for Tone-Mapped HDR Images Using Multi-Scale
and Multi-Layer Information", ICME Workshops, 2018 (arXiv:1810.08339).

9,216 features: mean and standard deviation over the picture of each channel of three layers of
ResNet50 (res2a, res4b, res4f: 256 + 1,024 + 1,024 channels), for the picture and for every second
of its rows and columns. Partial least squares with 15 components gives the score.

The paper's weights are those of ImageNet. Other ones can be used: see `He2018`.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.cross_decomposition import PLSRegression

from qdnet_keras.defaults import DEFAULT_RESNET
from qdnet_keras.errors import PresetError
from qdnet_keras.evaluation.methods.base import Baseline
from qdnet_keras.evaluation.methods.features import FeatureStore
from qdnet_keras.evaluation.methods.qdnet import pictures_seen
from qdnet_keras.model.encoder import Encoder
from qdnet_keras.model.presets import WEIGHTS, preset_folder
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.photos.files import to_float

LAYERS = ("conv2_block1_out", "conv4_block2_out", "conv4_block6_out")
COMPONENTS = 15


class He2018(Baseline):
    """Multi-scale, multi-layer features and partial least squares.

    Args:
        store: See `Baseline`.
        resnet: `"imagenet"` (downloads), the path of a `.weights.h5` file for
            `keras.applications.ResNet50(include_top=False)`, or a preset whose encoder is ResNet50.

    Raises:
        PresetError: If there are no such weights, or the preset has another encoder.
    """

    name = "he2018"
    dimension = 9216
    in_process = True

    def __init__(self, store: FeatureStore | None = None, resnet: str = DEFAULT_RESNET):
        super().__init__(store)
        self.weights = resnet
        if resnet == DEFAULT_RESNET:
            self._digest = resnet
        else:
            is_file = Path(resnet).is_file()
            file = Path(resnet) if is_file else preset_folder(resnet) / WEIGHTS
            self._digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
            if not is_file:
                self.seen = pictures_seen(resnet)
                self.note = (
                    f"he2018 uses the encoder of the preset {resnet}, not ImageNet weights; that "
                    "encoder has seen the pictures and scores of the preset's own training set."
                )
        self._statistics: Any = None

    @property
    def cache_name(self) -> str:
        return f"{self.name}-{self._digest}"

    def describe(self, pixels: np.ndarray) -> np.ndarray:
        """The 9,216 features of a picture, float32."""
        if self._statistics is None:
            self._statistics = _statistics(self._encoder())
        scales = (pixels, pixels[::2, ::2])
        return np.concatenate([self._statistics(to_float(scale)[None]) for scale in scales])

    def regress(self, features: np.ndarray, mos: np.ndarray, groups: Sequence[str]) -> Any:
        """Partial least squares on centred features, as published, without standardising."""
        components = min(COMPONENTS, len(mos) - 1)
        return PLSRegression(components, scale=False).fit(features.astype(np.float64), mos)

    def _encoder(self) -> Encoder:
        if self.weights == DEFAULT_RESNET or Path(self.weights).is_file():
            return Encoder(weights=self.weights)
        encoder = QDNet.from_preset(self.weights).encoder
        if encoder.application != "ResNet50":
            raise PresetError(
                f"The encoder of the preset {self.weights} is not ResNet50, which he2018 needs; "
                "give --resnet imagenet or the path of a .weights.h5 file, or leave he2018 out."
            )
        return encoder


def _statistics(encoder: Encoder) -> Any:
    """A graph for all sizes: float32 `[1, H, W, 3]` in 0..1 → float32 `[features]`."""
    outputs = [encoder.backbone.get_layer(name).output for name in LAYERS]
    network = keras.Model(encoder.backbone.input, outputs)

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.float32)])
    def statistics(image: tf.Tensor) -> tf.Tensor:
        values = []
        for features in network(encoder.preprocess(image), training=False):
            mean, variance = tf.nn.moments(tf.cast(features, tf.float32), [1, 2])
            values += [mean[0], tf.sqrt(variance[0])]
        return tf.concat(values, axis=0)

    return lambda image: statistics(tf.constant(image)).numpy()
