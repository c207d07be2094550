"""The Keras layers of QD-net, one class a file."""

import keras

from qdnet_keras.model.layers.adain import AdaIN, AdaINBlock
from qdnet_keras.model.layers.bilateral_grid import BilateralGrid
from qdnet_keras.model.layers.gaussian_posterior import GaussianPosterior
from qdnet_keras.model.layers.instance_split import InstanceSplit
from qdnet_keras.model.layers.natural_statistics import NaturalStatistics
from qdnet_keras.model.layers.novelty import Novelty
from qdnet_keras.model.layers.published_statistics import PublishedStatistics
from qdnet_keras.model.layers.resize_like import ResizeLike
from qdnet_keras.model.layers.tonal_statistics import TonalStatistics
from qdnet_keras.model.layers.tone_grid import ToneGrid

PICTURE_STATISTICS: dict[str, type[keras.layers.Layer]] = {
    "natural": NaturalStatistics,
    "published": PublishedStatistics,
    "tonal": TonalStatistics,
}

__all__ = [
    "PICTURE_STATISTICS",
    "AdaIN",
    "AdaINBlock",
    "BilateralGrid",
    "GaussianPosterior",
    "InstanceSplit",
    "NaturalStatistics",
    "Novelty",
    "PublishedStatistics",
    "ResizeLike",
    "TonalStatistics",
    "ToneGrid",
]
