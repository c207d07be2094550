"""Photographs inside a TensorFlow graph: what `photos.files` does, for exported models.

The arithmetic is that of `working_copy`, `to_float` and `from_float` there, and the pixels are
those that `read_photo` decodes from an 8-bit PNG or JPEG. Refusals are
`InvalidArgumentError` with a sentence. Not in a graph: other formats, 16-bit samples, CMYK and the
EXIF orientation.
"""

from collections.abc import Sequence
from functools import partial

import tensorflow as tf

from qdnet_keras.photos.sizes import MIN_SIDE, REDUCTIONS

MAX_ASPECT = 256  # long side to short side; the working copy of a longer strip would be too large
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_HEADER_BYTES = 33
BLOCK_PIXELS = 64  # of a JPEG; they share a code of at least one bit

Check = tuple[tf.Tensor, str]


def checked(tensor: tf.Tensor, checks: Sequence[Check]) -> tf.Tensor:
    """`tensor`, available only after all conditions held; the sentence of one that did not else."""
    asserts = [tf.debugging.Assert(condition, [sentence]) for condition, sentence in checks]
    with tf.control_dependencies(asserts):
        return tf.identity(tensor)


def size_checks(size: tf.Tensor, max_pixels: int) -> list[Check]:
    """What a height and width (integers `[2]`) must fulfil."""
    size = tf.cast(size, tf.int64)
    short, long = tf.reduce_min(size), tf.reduce_max(size)
    return [
        (short >= MIN_SIDE, f"Both sides of a picture must have at least {MIN_SIDE} pixels."),
        (
            (size[0] <= max_pixels) & (size[0] * size[1] <= max_pixels),
            f"The picture exceeds {max_pixels / 1e6:g} megapixels; send a smaller copy.",
        ),
        (
            long <= MAX_ASPECT * short,
            f"The long side of a picture may have at most {MAX_ASPECT} times the pixels of the "
            "short side.",
        ),
    ]


def from_float(values: tf.Tensor) -> tf.Tensor:
    """float32 in 0..1 to uint8, rounded to nearest; values outside are clipped."""
    return tf.cast(tf.round(tf.clip_by_value(values, 0.0, 1.0) * 255.0), tf.uint8)


def decode_picture(
    data: tf.Tensor, max_pixels: int, channels: int = 3, least_side: int | None = None
) -> tf.Tensor:
    """Pixels of a PNG or JPEG file, told by content: uint8 `[H, W, channels]`.

    The size is read from the header, so that nothing too large is ever decoded.

    Args:
        data: string scalar.
        channels: 3, or 4 with alpha (255 where the file has none).
        least_side: Where it is given, a JPEG may be read smaller, as `photos.files.read_photo`
            does.
    """
    is_jpeg = tf.io.is_jpeg(data)
    is_png = tf.strings.substr(data, 0, 8) == PNG_SIGNATURE
    whole_header = is_jpeg | (tf.strings.length(data) >= PNG_HEADER_BYTES)
    data = checked(
        data,
        [
            (is_jpeg | is_png, "The bytes are neither a PNG nor a JPEG file."),
            (whole_header, "The PNG file is cut short."),
        ],
    )
    size = tf.cond(is_jpeg, lambda: _jpeg_size(data), lambda: _png_size(data))
    data = checked(data, size_checks(size, max_pixels))
    return tf.cond(
        is_jpeg,
        lambda: _decode_jpeg(data, channels, size, least_side),
        lambda: _decode_png(data, channels),
    )


def _jpeg_size(data: tf.Tensor) -> tf.Tensor:
    """Checks what the decoder would fill up with grey: a file far too short for its size."""
    shape = tf.io.extract_jpeg_shape(data)
    cmyk = "The JPEG file has CMYK colours; convert it to RGB."
    bits = 8 * tf.cast(tf.strings.length(data), tf.int64)
    holds = bits * BLOCK_PIXELS >= tf.reduce_prod(tf.cast(shape[:2], tf.int64))
    short = "The JPEG file cannot hold the picture that it claims; it is damaged."
    return checked(shape[:2], [(shape[2] < 4, cmyk), (holds, short)])


def _png_size(data: tf.Tensor) -> tf.Tensor:
    first = "The first chunk of the PNG file is not its header."
    data = checked(data, [(tf.strings.substr(data, 12, 4) == b"IHDR", first)])
    width_height = tf.io.decode_raw(tf.strings.substr(data, 16, 8), tf.int32, little_endian=False)
    bits = _png_bits(data)
    deep = "The PNG file has 16 bits a channel; send 8 bits or use the Python API."
    return checked(width_height[::-1], [(bits <= 8, deep)])


def _png_bits(data: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_raw(tf.strings.substr(data, 24, 1), tf.uint8)[0]


def _decode_png(data: tf.Tensor, channels: int) -> tf.Tensor:
    """Opaque alpha is 255 at every depth; the codec fills in 2^bits − 1."""
    pixels = tf.io.decode_png(data, channels)
    if channels == 3:
        return pixels
    filler = tf.bitwise.left_shift(tf.constant(1, tf.int32), tf.cast(_png_bits(data), tf.int32)) - 1
    alpha = pixels[..., 3:]
    opaque = tf.reduce_all(tf.cast(alpha, tf.int32) == filler)
    alpha = tf.where(opaque, tf.constant(255, tf.uint8), alpha)
    return tf.concat([pixels[..., :3], alpha], axis=-1)


def _decode_jpeg(
    data: tf.Tensor, channels: int, size: tf.Tensor, least_side: int | None
) -> tf.Tensor:
    """By the slow accurate DCT, which is the one that Pillow uses."""
    if least_side is None:
        colour = _jpeg_colour(data, 1)
    else:
        branches = [partial(_jpeg_colour, data, ratio) for ratio in (1, *REDUCTIONS)]
        colour = tf.switch_case(_count_reductions(size, least_side), branches)
    if channels == 3:
        return colour
    return tf.pad(colour, [[0, 0], [0, 0], [0, 1]], constant_values=255)


def _jpeg_colour(data: tf.Tensor, ratio: int) -> tf.Tensor:
    return tf.io.decode_jpeg(data, 3, ratio=ratio, dct_method="INTEGER_ACCURATE")


def _count_reductions(size: tf.Tensor, least_side: int) -> tf.Tensor:
    """How many of `REDUCTIONS` `photos.sizes.jpeg_reduction` would allow; it takes the largest."""
    short, long = tf.reduce_min(size), tf.reduce_max(size)
    fits = [(long >= 2 * ratio * least_side) & (short >= ratio * MIN_SIDE) for ratio in REDUCTIONS]
    return tf.reduce_sum(tf.cast(tf.stack(fits), tf.int32))
