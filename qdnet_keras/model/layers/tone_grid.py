import keras
import tensorflow as tf

from qdnet_keras.model.layers.bilateral_grid import slice_grid
from qdnet_keras.model.layers.natural_statistics import LUMINANCE
from qdnet_keras.model.types import Pixels, Tensor

KNOTS = 16  # luminances at which a change is known: 0, 1/15 .. 1
TONE_CHANNELS = 2 * KNOTS + 3
DARKEST, BRIGHTEST = 0.01, 0.99  # what counts as clipped lies beyond
SMALLEST = 1.0 / 512.0
TINY = 1e-6  # more than rounding, so that what changes nothing is not reduced


def luminance(picture: Tensor) -> Tensor:
    """Luma `(..., 1)` of sRGB-encoded pixels `(..., 3)`."""
    return sum(weight * picture[..., i : i + 1] for i, weight in enumerate(LUMINANCE))


@keras.saving.register_keras_serializable("qdnet_keras")
class ToneGrid(keras.layers.Layer):
    """Changes tones by local curves and carries colours along.

    At each place a curve takes old luminance to new. It rises strictly and runs from 0 to 1, so no
    edge is reversed and nothing is newly clipped. Colours are multiplied with the ratio of new to
    old luminance, so a dark blue that becomes brighter is a brighter blue; then chroma (a colour's
    difference from its luminance) is multiplied with a gain of saturation that depends on place and
    luminance, and a tint proportional to luminance, one for the whole picture, shifts the white
    balance. Where a colour would leave the gamut, or clip, its chroma is reduced as far as it must
    be; luminance and hue stay. A change that changes nothing leaves every pixel as it is.

    Call arguments:
        grid: Tensor `(batch_size, grid_height, grid_width, TONE_CHANNELS)`: at each of `KNOTS`
            old luminances the new luminance and the gain of saturation, then the tint of red, green
            and blue (its mean over the grid counts).
        picture: Tensor `(batch_size, rows, columns, 3)`, sRGB-encoded, values in 0..1.
        pixels, size: Which pixels of which picture these are, see `slice_grid`.

    Returns:
        Tensor of the shape of `picture`, float32, values in 0..1.
    """

    def call(self, grid: Tensor, picture: Tensor, pixels: Pixels, size: Tensor) -> Tensor:
        curves, tint = grid[..., : 2 * KNOTS], tf.reduce_mean(grid[..., 2 * KNOTS :], axis=[1, 2])
        old = luminance(picture)
        sliced = slice_grid(curves, old[..., 0], KNOTS, pixels, size)
        new, saturation = sliced[..., :1], sliced[..., 1:]
        ratio = tf.maximum(new, SMALLEST) / tf.maximum(old, SMALLEST)
        chroma = ratio * saturation * (picture - old)
        chroma += new * tint[:, None, None, :]
        changed = new + chroma * _share_in_gamut(picture, new, chroma)
        return tf.clip_by_value(changed, 0.0, 1.0)


def _share_in_gamut(picture: Tensor, luminance: Tensor, chroma: Tensor) -> Tensor:
    """The largest share of chroma, at most 1, with which no channel clips that did not before."""
    top = tf.maximum(tf.reduce_max(picture, axis=-1, keepdims=True), BRIGHTEST)
    bottom = tf.minimum(tf.reduce_min(picture, axis=-1, keepdims=True), DARKEST)
    room_above = tf.maximum(top, luminance) - luminance + TINY
    room_below = luminance - tf.minimum(bottom, luminance) + TINY
    above = tf.reduce_max(chroma, axis=-1, keepdims=True) / room_above
    below = tf.reduce_max(-chroma, axis=-1, keepdims=True) / room_below
    return 1.0 / tf.maximum(1.0, tf.maximum(above, below))
