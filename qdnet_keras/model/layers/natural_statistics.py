import keras
import numpy as np
import tensorflow as tf

from qdnet_keras.model.types import Shape, Tensor

LEVELS = 3  # of the pyramid whose local contrast is described
LAYOUT_CELL = 16  # pixels
LUMINANCE_BINS, SATURATION_BINS = 12, 8
MOMENTS = 4
STATISTICS = 3 * MOMENTS * (2 + 4 * LEVELS) + LUMINANCE_BINS + SATURATION_BINS + 6

LUMINANCE = (0.299, 0.587, 0.114)
WINDOW, WINDOW_SIGMA = 7, 7 / 6
SMALL_CONTRAST = 4 / 255  # what local contrast is measured against
NOISE = 2 / 255
CLIP_MARGIN, CLIP_SLOPE = 0.02, 200.0
EPSILON = 1e-6


@keras.saving.register_keras_serializable("qdnet_keras")
class NaturalStatistics(keras.layers.Layer):
    """Natural scene statistics of a picture: what tone mapping does to light, contrast and edges.

    Four moments (mean, log standard deviation, a shape that tells flat from peaked distributions,
    skewness) of three opponent channels (luminance, red against green, yellow against blue)
    describe

    * the values, and their means over cells of 16×16 pixels: the layout of the light;
    * on three levels of a pyramid, each half the size of the one before, the log of the local
      contrast (standard deviation in a 7×7 Gaussian window); the values normalised by local mean
      and contrast (MSCN), whose distribution in undistorted photographs is close to one law; the
      log of the gradient's magnitude; and the MSCN of that magnitude.

    To these come histograms of luminance and saturation with linear, hence differentiable, bins,
    and the logs of the shares of burnt and black pixels of each colour. There are no weights;
    everything is float32.

    Call arguments:
        image: Tensor `(batch_size, height, width, 3)`, sRGB-encoded, values in 0..1.

    Returns:
        Tensor `(batch_size, STATISTICS)`.

    Reference:
        MSCN coefficients: Mittal et al., "No-Reference Image Quality Assessment in the Spatial
        Domain", TIP 2012, section III. On gradients of tone-mapped pictures: Kundu et al.,
        "No-Reference Quality Assessment of Tone-Mapped HDR Pictures", TIP 2017.
    """

    def call(self, image: Tensor) -> Tensor:
        image = tf.cast(image, tf.float32)
        level = _opponent_channels(image)
        layout = tf.nn.avg_pool2d(level, LAYOUT_CELL, LAYOUT_CELL, "SAME")
        statistics = [_moments(level), _moments(layout)]
        statistics.append(_histogram(level[..., 0], LUMINANCE_BINS))
        saturation = tf.reduce_max(image, axis=-1) - tf.reduce_min(image, axis=-1)
        statistics.append(_histogram(saturation, SATURATION_BINS))
        for number in range(LEVELS):
            if number:
                level = tf.nn.avg_pool2d(level, 2, 2, "SAME")
            statistics += _local_statistics(level)
        burnt = tf.sigmoid((image - (1.0 - CLIP_MARGIN)) * CLIP_SLOPE)
        black = tf.sigmoid((CLIP_MARGIN - image) * CLIP_SLOPE)
        statistics += [tf.math.log(_mean(share) + 1e-3) for share in (burnt, black)]
        return tf.concat(statistics, axis=-1)

    def compute_output_shape(self, image_shape: Shape) -> Shape:
        return (image_shape[0], STATISTICS)


def _opponent_channels(image: tf.Tensor) -> tf.Tensor:
    red, green, blue = tf.split(image, 3, axis=-1)
    luminance = LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue
    return tf.concat([luminance, red - green, 0.5 * (red + green) - blue], axis=-1)


def _local_statistics(level: tf.Tensor) -> list[tf.Tensor]:
    normalised, contrast = _normalise_locally(level)
    gradient = _gradient_magnitude(level)
    normalised_gradient, _ = _normalise_locally(gradient)
    maps = [
        tf.math.log(contrast + NOISE),
        normalised,
        tf.math.log(gradient + NOISE),
        normalised_gradient,
    ]
    return [_moments(values) for values in maps]


def _normalise_locally(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """MSCN coefficients and local standard deviations."""
    mean = _blur(values)
    contrast = tf.sqrt(tf.nn.relu(_blur(tf.square(values)) - tf.square(mean)) + EPSILON)
    return (values - mean) / (contrast + SMALL_CONTRAST), contrast


def _gradient_magnitude(values: tf.Tensor) -> tf.Tensor:
    """By central differences, borders mirrored."""
    padded = tf.pad(values, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    across = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    return tf.sqrt(tf.square(across) + tf.square(down) + EPSILON)


def _blur(values: tf.Tensor) -> tf.Tensor:
    """Mean under the Gaussian window, borders mirrored."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-0.5 * np.square(offsets / WINDOW_SIGMA))
    weights = np.tile((weights / weights.sum())[:, None, None, None], [1, 1, values.shape[-1], 1])
    column = tf.constant(weights, values.dtype)
    border = [WINDOW // 2, WINDOW // 2]
    padded = tf.pad(values, [[0, 0], border, border, [0, 0]], "SYMMETRIC")
    padded = tf.nn.depthwise_conv2d(padded, column, [1, 1, 1, 1], "VALID")
    return tf.nn.depthwise_conv2d(padded, tf.transpose(column, [1, 0, 2, 3]), [1] * 4, "VALID")


def _histogram(values: tf.Tensor, bins: int) -> tf.Tensor:
    """Shares of values in 0..1 `(batch_size, height, width)` near the centre of each bin."""
    centres = (np.arange(bins) + 0.5) / bins
    weights = [tf.nn.relu(1.0 - tf.abs(values - centre) * bins) for centre in centres]
    return tf.stack([tf.reduce_mean(weight, axis=[1, 2]) for weight in weights], axis=-1)


def _mean(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(values, axis=[1, 2])


def _moments(values: tf.Tensor) -> tf.Tensor:
    """Mean, log standard deviation, E|v| / std and skewness of each channel."""
    mean = tf.reduce_mean(values, axis=[1, 2], keepdims=True)
    centred = values - mean
    variance = _mean(tf.square(centred)) + EPSILON
    return tf.concat(
        [
            mean[:, 0, 0, :],
            0.5 * tf.math.log(variance),
            _mean(tf.abs(centred)) / tf.sqrt(variance),
            _mean(centred**3) / variance**1.5,
        ],
        axis=-1,
    )
