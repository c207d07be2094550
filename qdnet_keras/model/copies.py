"""Working copies inside a TensorFlow graph, by the arithmetic of `photos.files.working_copy`."""

from collections.abc import Callable

import tensorflow as tf

from qdnet_keras.photos.files import MIN_SIDE

BAND_VALUES = 1 << 21  # float64 values of the original held at a time


def to_float(pixels: tf.Tensor) -> tf.Tensor:
    """uint8, or float32 in 0..255, to float32 in 0..1, same shape.

    In float64, since a graph divides by multiplying with the reciprocal: in float32 half of all
    quotients would be another number than NumPy's.
    """
    return tf.cast(tf.cast(pixels, tf.float64) / 255.0, tf.float32)


def working_copy(pixels: tf.Tensor, long_side: int | tf.Tensor) -> tf.Tensor:
    """`photos.files.working_copy` of uint8, or float32 in 0..255, `[B, H, W, C]`.

    Returns:
        float32 `[B, h, w, C]` in 0..1.
    """
    size = tf.cast(tf.shape(pixels)[1:3], tf.float64)
    long_side = tf.cast(long_side, tf.float64)
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

    def step(
        first: tf.Tensor, index: tf.Tensor, bands: tf.TensorArray
    ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        stop = tf.minimum(first + rows, count)
        band = compute(first, stop)
        return stop, index + 1, bands.write(index, tf.transpose(band, [1, 0, 2, 3]))

    _, _, bands = tf.while_loop(
        lambda first, *_: first < count, step, (0, 0, bands), parallel_iterations=1
    )
    return tf.transpose(bands.concat(), [1, 0, 2, 3])
