"""Photographs inside a TensorFlow graph: what `images.py` does, for exported models.

The arithmetic is that of `images.working_copy`, `to_float` and `from_float`, and the pixels are
those that `images.read_photo` decodes from an 8-bit PNG or JPEG. Refusals are
`InvalidArgumentError` with a sentence. Not in a graph: other formats, 16-bit samples, CMYK and the
EXIF orientation.
"""

from collections.abc import Callable, Sequence
from functools import partial

import tensorflow as tf

from qdnet_keras.photos.sizes import MIN_SIDE, REDUCTIONS

BAND_VALUES = 1 << 21  # float64 values of the original held at a time
MAX_ASPECT = 256  # long side to short side; the working copy of a longer strip would be too large
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_HEADER_BYTES = 33

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


def to_float(pixels: tf.Tensor) -> tf.Tensor:
    """uint8, or float32 in 0..255, to float32 in 0..1, same shape.

    In float64, since a graph divides by multiplying with the reciprocal: in float32 half of all
    quotients would be another number than NumPy's.
    """
    return tf.cast(tf.cast(pixels, tf.float64) / 255.0, tf.float32)


def from_float(values: tf.Tensor) -> tf.Tensor:
    """float32 in 0..1 to uint8, rounded to nearest; values outside are clipped."""
    return tf.cast(tf.round(tf.clip_by_value(values, 0.0, 1.0) * 255.0), tf.uint8)


def working_copy(pixels: tf.Tensor, long_side: int) -> tf.Tensor:
    """`images.working_copy` of uint8 `[B, H, W, C]`: float32 `[B, h, w, C]` in 0..1."""
    size = tf.cast(tf.shape(pixels)[1:3], tf.float64)
    scale = tf.maximum(long_side / tf.reduce_max(size), MIN_SIDE / tf.reduce_min(size))
    counts = tf.cast(tf.round(size * scale), tf.int32)

    def averaged(picture: tf.Tensor) -> tf.Tensor:
        rows = _average_rows(picture[None], counts[0])
        columns = _average_rows(tf.transpose(rows, [0, 2, 1, 3]), counts[1])
        return to_float(tf.transpose(columns, [0, 2, 1, 3])[0])

    def each_averaged() -> tf.Tensor:  # alone: a matrix product rounds by the size of its batch
        return tf.map_fn(averaged, pixels, fn_output_signature=tf.float32, parallel_iterations=1)

    return tf.cond(scale >= 1.0, lambda: to_float(pixels), each_averaged)


def _average_rows(values: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Area means of `[B, H, W, C]` along H: float32 `[B, count, W, C]`, computed in bands."""
    batch, total, width, channels = tf.unstack(tf.shape(values))
    step = tf.cast(total, tf.float64) / tf.cast(count, tf.float64)

    def means(first: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
        index = tf.cast(tf.range(first, stop), tf.float64)[:, None]
        starts, stops = index * step, tf.minimum((index + 1.0) * step, tf.cast(total, tf.float64))
        top = tf.cast(starts[0, 0], tf.int32)
        bottom = tf.cast(tf.math.ceil(stops[-1, 0]), tf.int32)
        covered = tf.cast(tf.range(top, bottom), tf.float64)[None, :]
        overlap = tf.minimum(covered + 1.0, stops) - tf.maximum(covered, starts)
        weights = tf.maximum(overlap, 0.0) / step
        band = tf.cast(values[:, top:bottom], tf.float64)
        flat = tf.reshape(band, [batch, bottom - top, width * channels])
        means = tf.cast(weights @ flat, tf.float32)  # float64 rounded once, as in NumPy
        return tf.reshape(means, [batch, stop - first, width, channels])

    per_row = tf.cast(tf.math.ceil(step), tf.int32) * batch * width * channels
    rows = tf.clip_by_value(BAND_VALUES // per_row, 1, 32)
    return in_bands(means, count, rows, tf.float32, values.shape[-1])


def in_bands(
    compute: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    count: tf.Tensor,
    rows: tf.Tensor,
    dtype: tf.DType,
    channels: int | None,
) -> tf.Tensor:
    """Joins `compute(first, stop)`, each `[B, stop - first, W, channels]`, over `count` rows."""
    bands = tf.TensorArray(
        dtype, 0, dynamic_size=True, infer_shape=False, element_shape=[None, None, None, channels]
    )

    def step(first, index, bands):
        stop = tf.minimum(first + rows, count)
        band = compute(first, stop)
        return stop, index + 1, bands.write(index, tf.transpose(band, [1, 0, 2, 3]))

    _, _, bands = tf.while_loop(
        lambda first, *_: first < count, step, (0, 0, bands), parallel_iterations=1
    )
    return tf.transpose(bands.concat(), [1, 0, 2, 3])


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
    shape = tf.io.extract_jpeg_shape(data)
    cmyk = "The JPEG file has CMYK colours; convert it to RGB."
    return checked(shape[:2], [(shape[2] < 4, cmyk)])


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
