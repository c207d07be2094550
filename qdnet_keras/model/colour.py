"""What a change of pixels does to colours: what it may do, and what it takes of them."""

from keras import ops

from qdnet_keras.model.layers.natural_statistics import LUMINANCE
from qdnet_keras.model.types import Tensor

HUE_ROOM = 0.2  # by what share of a pixel's chroma its new chroma may leave its hue
MOST_SATURATION = 3.0
HALF_CHROMA = 0.04  # where half that gain of saturation is allowed
DARKEST, BRIGHTEST = 0.014, 0.986  # what counts as clipped lies beyond
TINY = 1e-4
VISIBLE_CHROMA = 0.06  # length of a colour less its luminance from which it is seen
LEAST_COLOURED = 0.01  # of a picture, where colours count
DARK = 0.05  # luminance added where chroma is taken relative to it
STRIDE = 2  # pixels between those whose chroma is compared


def add_change(picture: Tensor, change: Tensor) -> Tensor:
    """`picture + change`, but hues are kept and nothing new is burnt or black.

    Colour that a pixel does not have cannot be restored, only invented; it would tint clouds and
    walls. With chroma as the difference of a colour from its luminance, the new chroma lies within
    `HUE_ROOM` times the old one's length of the ray from none to `MOST_SATURATION` times the old
    one, or less than that where there is hardly any (`HALF_CHROMA`). A colour cast can be taken
    away, grey stays grey, and blue does not turn red.

    Nor can what was clipped be brought back later: a change takes at most the room that is left
    between the pixel and `DARKEST` or `BRIGHTEST`, nearly all of it where it would go beyond, and
    is hardly reduced where it stays well inside. A pixel beyond them already is not pushed farther.

    Args:
        picture: sRGB-encoded pixels, `(batch_size, rows, columns, 3)`, values in 0..1.
        change: Of the same shape.
    """
    chroma = picture - _luminance(picture)
    lighter = _luminance(change)
    squared = _dot(chroma, chroma)
    new_chroma = chroma + change - lighter
    saturation = 1.0 + _dot(new_chroma - chroma, chroma) / (squared + TINY)
    most = 1.0 + (MOST_SATURATION - 1.0) * squared / (squared + HALF_CHROMA**2)
    on_ray = ops.clip(saturation, 0.0, most) * chroma
    off_ray = new_chroma - on_ray
    distance = ops.sqrt(_dot(off_ray, off_ray) + TINY**2)
    new_chroma = on_ray + off_ray * _shortened(distance, HUE_ROOM * ops.sqrt(squared + TINY**3))

    change = lighter + new_chroma - chroma
    room = ops.where(change > 0.0, BRIGHTEST - picture, picture - DARKEST)
    return picture + change * _shortened(change, ops.maximum(room, TINY))


def chroma_lost(before: Tensor, after: Tensor) -> Tensor:
    """Share of their chroma that coloured pixels lose, on average.

    What is left of it is measured along the old hue: a blue sky that turns brown has lost all.
    Where a pixel becomes darker, its chroma may become less by as much.

    Args:
        before: sRGB-encoded pixels, `(batch_size, rows, columns, 3)`, values in 0..1.
        after: The same pixels changed.

    Returns:
        Share in 0..1, `(batch_size,)`; 0 where hardly any pixel is coloured, `LEAST_COLOURED`.
    """
    before, after = (picture[:, ::STRIDE, ::STRIDE] for picture in (before, after))
    light, new_light = _luminance(before), _luminance(after)
    chroma, new_chroma = before - light, after - new_light
    squared = _dot(chroma, chroma)
    is_coloured = ops.cast(squared > VISIBLE_CHROMA**2, "float32")
    left = _dot(chroma, new_chroma) / ops.maximum(squared, VISIBLE_CHROMA**2)
    left *= ops.maximum(1.0, (light + DARK) / (new_light + DARK))
    lost = ops.mean(is_coloured * ops.clip(1.0 - left, 0.0, 1.0), axis=(1, 2, 3))
    coloured = ops.mean(is_coloured, axis=(1, 2, 3))
    return ops.where(coloured < LEAST_COLOURED, 0.0, lost / ops.maximum(coloured, LEAST_COLOURED))


def _luminance(colour: Tensor) -> Tensor:
    return _dot(colour, ops.array(LUMINANCE, "float32"))


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Over the last axis, of three colours; faster than a sum over it."""
    return sum(one[..., i : i + 1] * other[..., i : i + 1] for i in range(3))


def _shortened(length: Tensor, room: Tensor) -> Tensor:
    """Factor 0..1 that makes a length less than its room; 1 where it is much less."""
    return ops.rsqrt(ops.sqrt(1.0 + ops.square(ops.square(length / room))))
