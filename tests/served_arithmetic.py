"""A model of a few multiplications to serve; its signature `hold` ends when a file appears."""

from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc import StatusCode

X = np.array([[1, 2], [3, 4]], np.float32)


class Arithmetic(tf.Module):
    """`score`: x times a factor; `pair` also repeats bytes; `hold` waits for a file.

    `brightness` and `length` take what an exported network takes.
    """

    def __init__(self, factor: float):
        self.factor = tf.Variable(factor)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
    def score(self, x):
        with tf.control_dependencies([tf.debugging.Assert(tf.size(x) > 0, ["x is empty"])]):
            return {"score": tf.reduce_sum(x, -1) * self.factor}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int32, "count"),
            tf.TensorSpec([None], tf.string, "image_bytes"),
        ]
    )
    def pair(self, count, image_bytes):
        return {
            "image_bytes": tf.strings.join([image_bytes, image_bytes]),
            "text": tf.strings.as_string(count),
            "half": tf.cast(count, tf.float32) / 2.0,
        }

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, "image")])
    def brightness(self, image):
        return {"mean": tf.reduce_mean(tf.cast(image, tf.float32), [1, 2, 3])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def length(self, image_bytes):
        return {"length": tf.strings.length(image_bytes)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "path")])
    def hold(self, path):
        def missing(_):
            return tf.size(tf.io.matching_files(path)) == 0

        (rounds,) = tf.while_loop(missing, lambda n: (n + 1,), (0,))
        return {"factor": self.factor + 0.0 * tf.cast(rounds, tf.float32)}


NAMES = ("score", "pair", "brightness", "length", "hold")


def add_version(folder: Path, version: int, factor: float) -> None:
    """Writes a version as an export does: complete, then renamed."""
    module = Arithmetic(factor)
    signatures = {name: getattr(module, name) for name in NAMES}
    signatures["serving_default"] = module.score
    hidden = folder / ".exporting"
    tf.saved_model.save(module, str(hidden), signatures)
    hidden.rename(folder / str(version))


def code_of(call, *arguments, **options) -> tuple[StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **options)
    return caught.value.code(), caught.value.details()
