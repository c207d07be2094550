"""Local tone curves: what a quality does to light and colour, and the change between two.

A quality draws the tones of content, a share u in 0..1 from dark to bright, by a curve f that rises
strictly from f(0) = 0 to f(1) = 1. Two qualities of the same content meet in u: the change from z
to ẑ takes the luminance f(u) to f̂(u), which is the curve f̂ ∘ f⁻¹. It rises strictly as both do.
"""

from typing import NamedTuple

import tensorflow as tf

from qdnet_keras.model.layers.tone_grid import KNOTS

STRAIGHT = 0.03  # share of the straight line in a change: the least slope
SATURATION_RANGE = 1.1  # of the log gain of a change


class Tones(NamedTuple):
    """What a quality does to content, float32.

    `curve` `(batch_size, cells_y, cells_x, KNOTS)`: luminance at u = 0, 1/15 .. 1; `saturation`, of
    the same shape: log of the chroma that content gets there; `tint` `(batch_size, 3)`: chroma
    relative to luminance that the whole picture gets.
    """

    curve: tf.Tensor
    saturation: tf.Tensor
    tint: tf.Tensor


def change_between(old: Tones, new: Tones) -> tf.Tensor:
    """The change from one quality to another as `ToneGrid` takes it."""
    levels = tf.linspace(0.0, 1.0, KNOTS)
    u = invert(old.curve, levels)
    light = (1.0 - STRAIGHT) * interpolate(new.curve, u) + STRAIGHT * levels
    gain = interpolate(new.saturation, u) - interpolate(old.saturation, u)
    gain = tf.exp(SATURATION_RANGE * tf.tanh(gain / SATURATION_RANGE))
    cells = tf.shape(u)[:3]
    curves = tf.reshape(tf.stack([light, gain], axis=-1), [*tf.unstack(cells), 2 * KNOTS])
    tint = (new.tint - old.tint)[:, None, None, :]
    return tf.concat([curves, tf.broadcast_to(tint, [*tf.unstack(cells), 3])], axis=-1)


def interpolate(curve: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    """Values of curves `(..., knots)` at positions 0..1 `(..., count)`, linear between knots."""
    knots = curve.shape[-1]
    position = tf.clip_by_value(position, 0.0, 1.0) * (knots - 1.0)
    below = tf.minimum(tf.cast(position, tf.int32), knots - 2)
    share = position - tf.cast(below, tf.float32)
    batch_dims = len(curve.shape) - 1
    low = tf.gather(curve, below, batch_dims=batch_dims)
    high = tf.gather(curve, below + 1, batch_dims=batch_dims)
    return low + share * (high - low)


def invert(curve: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Positions 0..1 `(..., count)` where strictly rising curves `(..., knots)` reach values."""
    low, high = curve[..., None, :-1], curve[..., None, 1:]
    shares = tf.clip_by_value((values[:, None] - low) / (high - low), 0.0, 1.0)
    return tf.reduce_mean(shares, axis=-1)
