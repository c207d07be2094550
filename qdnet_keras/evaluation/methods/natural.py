"""The natural scene statistics of QD-net's posterior, alone, with support vectors.

What they know of quality without the encoder, the posterior and the decoder.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from qdnet_keras.evaluation.methods.base import Baseline
from qdnet_keras.evaluation.methods.features import FeatureStore
from qdnet_keras.model.layers import NaturalStatistics
from qdnet_keras.model.layers.natural_statistics import STATISTICS
from qdnet_keras.model.scoring import WORKING_SIDE
from qdnet_keras.photos.files import working_copy


class Natural(Baseline):
    """`NaturalStatistics` of the copy that QD-net scores; see `Baseline` for the argument."""

    name = "natural-statistics"
    dimension = STATISTICS
    in_process = True

    def __init__(self, store: FeatureStore | None = None):
        super().__init__(store)
        self._statistics: Any = None

    def describe(self, pixels: np.ndarray) -> np.ndarray:
        """The statistics of a picture, float32 `[STATISTICS]`."""
        if self._statistics is None:
            open_size = tf.TensorSpec([None, None, None, 3], tf.float32)
            self._statistics = tf.function(NaturalStatistics(), input_signature=[open_size])
        return self._statistics(working_copy(pixels, WORKING_SIDE)[None])[0].numpy()
