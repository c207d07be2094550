"""An encoder of five tiny stages, so that tests take seconds."""

import keras

from qdnet_keras.model.encoder import Encoder

CHANNELS = (3, 4, 6, 8, 12, 16)
TAPS = tuple(f"toy_{stage}_relu" for stage in range(1, 6))


def toy_network() -> keras.Model:
    """Five times a convolution that halves the size, normalisation and ReLU."""
    image = features = keras.Input((None, None, 3), name="image")
    for stage, channels in enumerate(CHANNELS[1:], 1):
        convolution = keras.layers.Conv2D(channels, 3, 2, "same", name=f"toy_{stage}_conv")
        norm = keras.layers.BatchNormalization(name=f"toy_{stage}_bn")
        features = norm(convolution(features))
        features = keras.layers.ReLU(name=f"toy_{stage}_relu")(features)
    return keras.Model(image, features, name="toy")


def toy_encoder(**options: object) -> Encoder:
    return Encoder(toy_network(), TAPS, name="encoder", **options)
