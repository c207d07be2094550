"""The latent cycle: a rendering, encoded again, should have the latent it was rendered with.

It makes latents that no picture has decodable, and the enhancement's loop closable.
"""

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf
from keras import ops

from qdnet_keras.model.replicas import draw
from qdnet_keras.model.types import Tensor

if TYPE_CHECKING:
    from qdnet_keras.model.encoding import Split
    from qdnet_keras.model.qdnet import QDNet


def cycle_term(model: "QDNet", image: Any, split: "Split", z: Any, started: Any) -> Any:
    """Mean over the first half of a batch (another pass of the encoder is dear), 0 until started.

    The new latents are mixtures with those of other pictures, as in eq. (6).
    """
    half = ops.shape(image)[0] // 2
    epsilon = draw(
        lambda shape: keras.random.uniform(shape, seed=model.seed_generator), (ops.shape(z)[0], 1)
    )
    new_z = z + epsilon * (ops.roll(z, 1, axis=0) - z)
    contents = [content[:half] for content in split.contents]
    inputs = image[:half], contents, split.moments[:half], z[:half], new_z[:half]
    inputs = keras.tree.map_structure(ops.stop_gradient, inputs)
    return tf.cond(started, lambda: surrogate(model, *inputs), lambda: 0.0)


def surrogate(model: "QDNet", image: Any, contents: Any, moments: Any, z: Any, new_z: Any) -> Any:
    """The term's value, with a gradient that reaches the decoder alone.

    The gradient with respect to the re-rendered picture is computed first; multiplying the
    picture by it gives a surrogate with the same gradient in the decoder's weights.
    """
    change = model.decoder.change(contents, z, new_z)
    rendered = ops.clip(model.rerender(image, change, moments), 0.0, 1.0)
    with tf.GradientTape() as tape:
        fixed = ops.stop_gradient(rendered)
        tape.watch(fixed)
        z_again = model.encode(fixed).loc
        score, score_again = model.scorer(new_z), model.scorer(z_again)
        loss = ops.mean(latent_cycle(new_z, z_again, score, score_again))
    slope = ops.stop_gradient(tape.gradient(loss, fixed))
    value = ops.sum(slope * rendered)
    return ops.stop_gradient(loss - value) + value


def latent_cycle(z: Tensor, z_again: Tensor, score: Tensor, score_again: Tensor) -> Tensor:
    """How far encoding a rendering misses the latent and the score it was rendered for.

    Args:
        z, z_again: Latents of shape `(batch_size, latent_dim)`.
        score, score_again: Standardised scores of shape `(batch_size,)`.

    Returns:
        Shape `(batch_size,)`.
    """
    return ops.mean(ops.square(z - z_again), axis=-1) + ops.square(score - score_again)
