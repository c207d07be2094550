"""The Keras layers of QD-net, one class a file."""

from qdnet_keras.layers.adain import AdaIN, AdaINBlock
from qdnet_keras.layers.bilateral_grid import BilateralGrid
from qdnet_keras.layers.gaussian_posterior import GaussianPosterior
from qdnet_keras.layers.instance_split import InstanceSplit
from qdnet_keras.layers.natural_statistics import NaturalStatistics
from qdnet_keras.layers.novelty import Novelty
from qdnet_keras.layers.resize_like import ResizeLike

__all__ = [
    "AdaIN",
    "AdaINBlock",
    "BilateralGrid",
    "GaussianPosterior",
    "InstanceSplit",
    "NaturalStatistics",
    "Novelty",
    "ResizeLike",
]
