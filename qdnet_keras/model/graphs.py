"""What scoring, enhancement and export run: graphs for pictures of all sizes, traced once."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from qdnet_keras.model.encoding import Encoding

if TYPE_CHECKING:
    from qdnet_keras.model.qdnet import QDNet

PICTURES = tf.TensorSpec([None, None, None, 3], tf.float32)
MOMENTS = tf.TensorSpec([None, 6], tf.float32)
NUMBERS = tf.TensorSpec([None], tf.float32)
FLAG, COUNT = tf.TensorSpec([], tf.bool), tf.TensorSpec([], tf.int32)


def traced(model: "QDNet", name: str, function: Callable, signature: Sequence[Any]) -> Callable:
    """`function` as a graph; for each network and name it is made and traced once."""
    graphs = model.__dict__.setdefault("_graphs", {})
    if name not in graphs:
        graphs[name] = tf.function(function, input_signature=signature, autograph=False)
    return graphs[name]


def encode(model: "QDNet") -> Callable:
    """Pictures → `Encoding`, of whose contents there are those that `Decoder.change` takes."""

    def encode(image: tf.Tensor) -> Encoding:
        encoding = model.encode(image)
        return encoding._replace(contents=encoding.contents[model.decoder.LAST_STAGE :])

    return traced(model, "encode", encode, [PICTURES])


def score(model: "QDNet") -> Callable:
    """Pictures → what the network says of them, as `QDNet` called."""
    return traced(model, "score", lambda image: model.report(encode(model)(image)), [PICTURES])


def report(model: "QDNet") -> Callable:
    """`QDNet.report`. After `encode` it says what `score` says, without an encoder of its own."""
    z = latents(model)
    encoding = Encoding(contents(model), MOMENTS, z, z, z, NUMBERS)
    return traced(model, "report", lambda encoding: model.report(encoding), [encoding])


def rank(model: "QDNet") -> Callable:
    """`QDNet.rank_latent`."""
    return traced(model, "rank", model.rank_latent, [latents(model)])


def posterior(model: "QDNet") -> Callable:
    """Pictures → `(loc, scale)` of p(z|x)."""
    return traced(model, "posterior", lambda image: encode(model)(image)[2:4], [PICTURES])


def statistics(model: "QDNet") -> Callable:
    """Pictures → what the posterior sees of them, `Split.statistics`."""
    return traced(model, "statistics", lambda image: model.split(image).statistics, [PICTURES])


def contents(model: "QDNet") -> list[tf.TensorSpec]:
    """What the contents of `encode` are."""
    dtype, channels = model.instance_split.compute_dtype, model.encoder.channels
    stages = model.encoder.pyramid[model.decoder.LAST_STAGE :]
    return [tf.TensorSpec([None, None, None, channels[stage]], dtype) for stage in stages]


def latents(model: "QDNet") -> tf.TensorSpec:
    """What z is."""
    return tf.TensorSpec([None, model.latent_dim], tf.float32)


def change(model: "QDNet") -> Callable:
    """`Decoder.change`."""
    z = latents(model)
    return traced(model, "change", model.decoder.change, [contents(model), z, z])


def rerender(model: "QDNet") -> Callable:
    """`QDNet.rerender` of pictures or tiles."""
    signature = [
        PICTURES,
        tf.TensorSpec([None, None, None, model.decoder.change_channels], tf.float32),
        MOMENTS,
        tf.TensorSpec([2], tf.int32),
        tf.TensorSpec([2], tf.int32),
    ]
    return traced(model, "rerender", model.rerender, signature)
