"""What scoring, enhancement and export run: graphs for pictures of all sizes, traced once."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from qdnet_keras.model.qdnet import QDNet

PICTURES = tf.TensorSpec([None, None, None, 3], tf.float32)


def traced(model: "QDNet", name: str, function: Callable, signature: Sequence[Any]) -> Callable:
    """`function` as a graph; for each network and name it is made and traced once."""
    graphs = model.__dict__.setdefault("_graphs", {})
    if name not in graphs:
        graphs[name] = tf.function(function, input_signature=signature, autograph=False)
    return graphs[name]


def encode(model: "QDNet") -> Callable:
    """Pictures → `Encoding`."""
    return traced(model, "encode", lambda image: model.encode(image), [PICTURES])


def score(model: "QDNet") -> Callable:
    """Pictures → what the network says of them, as `QDNet` called."""
    return traced(model, "score", lambda image: model.report(encode(model)(image)), [PICTURES])


def posterior(model: "QDNet") -> Callable:
    """Pictures → `(loc, scale)` of p(z|x)."""
    return traced(model, "posterior", lambda image: encode(model)(image)[2:4], [PICTURES])


def change(model: "QDNet") -> Callable:
    """`Decoder.change`."""
    dtype, channels = model.instance_split.compute_dtype, model.encoder.channels
    contents = [
        tf.TensorSpec([None, None, None, channels[stage]], dtype) for stage in model.encoder.pyramid
    ]
    latents = tf.TensorSpec([None, model.latent_dim], tf.float32)
    return traced(model, "change", model.decoder.change, [contents, latents, latents])


def rerender(model: "QDNet") -> Callable:
    """`QDNet.rerender` of pictures or tiles."""
    signature = [
        PICTURES,
        tf.TensorSpec([None, None, None, model.decoder.change_channels], tf.float32),
        tf.TensorSpec([None, 6], tf.float32),
        tf.TensorSpec([2], tf.int32),
        tf.TensorSpec([2], tf.int32),
    ]
    return traced(model, "rerender", model.rerender, signature)
