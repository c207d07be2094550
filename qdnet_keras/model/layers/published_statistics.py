import keras
import numpy as np
import tensorflow as tf

from qdnet_keras.model.types import Shape, Tensor

COLUMNS = ("s20", *(f"s{number}" for number in range(51, 73)))
STATISTICS = len(COLUMNS)

LEVELS = 256
BLOCK = 11  # pixels; of the contrast that naturalness looks at
BRIGHTNESS, BRIGHTNESS_STD = 115.94, 27.99  # of natural pictures, Yeganeh and Wang 2013
CONTRAST_A, CONTRAST_B, CONTRAST_UNIT = 4.4, 10.1, 64.29
TOP_LEVELS = (1, 25, 50, 75, 100, 125)
RGB_TO_XYZ = np.array(  # sRGB, white D65
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
LUMINANCE = (0.2126, 0.7152, 0.0722)
LAB_EDGE = 6 / 29
EPSILON = 1e-8


@keras.saving.register_keras_serializable("qdnet_keras")
class PublishedStatistics(keras.layers.Layer):
    """The statistics of a published study of tone-mapped pictures that a resize hardly changes.

    23 of the 73 numbers of the public release RETI (Yang Shen), in its order, named by its columns
    in `COLUMNS`:

    * `s20` TMQI's naturalness;
    * `s51` entropy of all levels, in bits;
    * `s52`..`s57` for red, green and blue the level that 99 % of the pixels reach and the one that
      1 % lie below, in 0..1 (1 and 0 if they are the same);
    * `s58`..`s61` mean and standard deviation of HSV hue, then of saturation;
    * `s62`..`s64` colourfulness, twice from CIELAB and once from RGB;
    * `s65`..`s70` of the plane with most pixels at 255, the shares of pixels in the highest 1, 25,
      50, 75, 100, 125 of 256 equal parts of its own range (0 where the plane is flat);
    * `s71`, `s72` the pixels at 255 of that plane over the most frequent level of any plane, and
      over all pixels.

    Values are rounded to 8 bits, as the release reads 8-bit files; gradients pass the rounding.
    Those of levels and their frequencies (`s51`..`s57`, `s65`..`s72`) are 0. There are no weights;
    everything is float32.

    Call arguments:
        image: Tensor `(batch_size, height, width, 3)`, sRGB-encoded, values in 0..1.

    Returns:
        Tensor `(batch_size, STATISTICS)`.

    Reference:
        `feature_extraction.m` of github.com/niannianyouyu/RETI. Naturalness: Yeganeh and Wang,
        "Objective Quality Assessment of Tone-Mapped Images", TIP 2013. Colourfulness: Hasler and
        Süsstrunk, "Measuring Colourfulness in Natural Images", SPIE 2003.
    """

    def call(self, image: Tensor) -> Tensor:
        image = tf.cast(image, tf.float32) * 255.0
        image += tf.stop_gradient(tf.round(image) - image)
        counts = _counts(tf.cast(tf.round(image), tf.int32))
        statistics = [
            _naturalness(image),
            _entropy(counts),
            _percentiles(counts),
            _hue_and_saturation(image / 255.0),
            _colourfulness(image),
            _highlights(counts),
        ]
        return tf.concat(statistics, axis=-1)

    def compute_output_shape(self, image_shape: Shape) -> Shape:
        return (image_shape[0], STATISTICS)


def _counts(levels: tf.Tensor) -> tf.Tensor:
    """Pixels at each level of each plane, int64 `(batch_size, 3, LEVELS)`."""
    batch_size = tf.shape(levels)[0]
    planes = tf.reshape(tf.range(batch_size * 3), [batch_size, 1, 1, 3])
    cells = tf.reshape(planes * LEVELS + levels, [-1])
    size = batch_size * 3 * LEVELS
    counts = tf.math.bincount(cells, minlength=size, maxlength=size, dtype=tf.int64)
    return tf.reshape(counts, [batch_size, 3, LEVELS])


def _naturalness(image: tf.Tensor) -> tf.Tensor:
    """Incomplete blocks are filled with zeros; their contrast counts for the pixels they have."""
    luminance = tf.linalg.matvec(image, tf.constant(LUMINANCE))
    height, width = tf.shape(image)[1], tf.shape(image)[2]
    rows, columns = (height + BLOCK - 1) // BLOCK, (width + BLOCK - 1) // BLOCK
    padding = [[0, 0], [0, rows * BLOCK - height], [0, columns * BLOCK - width]]
    blocks = tf.reshape(tf.pad(luminance, padding), [-1, rows, BLOCK, columns, BLOCK])
    variance = tf.math.reduce_variance(blocks, axis=[2, 4]) * (BLOCK**2 / (BLOCK**2 - 1))
    weights = _filled(height, rows)[:, None] * _filled(width, columns)
    contrast = tf.reduce_sum(_root(variance) * weights, axis=[1, 2]) / CONTRAST_UNIT
    contrast = tf.clip_by_value(contrast, 0.0, 1.0)
    mode = (CONTRAST_A - 1) / (CONTRAST_A + CONTRAST_B - 2)
    likely_contrast = (contrast / mode) ** (CONTRAST_A - 1) * ((1 - contrast) / (1 - mode)) ** (
        CONTRAST_B - 1
    )
    off = (_mean(luminance) - BRIGHTNESS) / BRIGHTNESS_STD
    return (likely_contrast * tf.exp(-tf.square(off) / 2))[:, None]


def _filled(side: tf.Tensor, blocks: tf.Tensor) -> tf.Tensor:
    """Share of a side that each of its blocks holds, float32 `(blocks,)`."""
    pixels = tf.minimum(BLOCK, side - BLOCK * tf.range(blocks))
    return tf.cast(pixels, tf.float32) / tf.cast(side, tf.float32)


def _entropy(counts: tf.Tensor) -> tf.Tensor:
    together = tf.cast(tf.reduce_sum(counts, axis=1), tf.float32)
    shares = together / tf.reduce_sum(together, axis=-1, keepdims=True)
    return -tf.reduce_sum(tf.math.xlogy(shares, shares), axis=-1, keepdims=True) / np.log(2.0)


def _percentiles(counts: tf.Tensor) -> tf.Tensor:
    reached = 100 * tf.cumsum(counts, axis=-1)
    total = reached[..., -1:] // 100
    # Levels before the sought one, counted.
    high = tf.reduce_sum(tf.cast(reached < 99 * total, tf.float32), axis=-1)
    low = tf.reduce_sum(tf.cast(reached <= total, tf.float32), axis=-1)
    pairs = tf.stack([high, low], axis=-1) / (LEVELS - 1)
    pairs = tf.where((high == low)[..., None], tf.constant([1.0, 0.0]), pairs)
    return tf.reshape(pairs, [-1, 6])


def _hue_and_saturation(image: tf.Tensor) -> tf.Tensor:
    hsv = tf.image.rgb_to_hsv(image)[..., :2]
    pixels = tf.cast(tf.shape(image)[1] * tf.shape(image)[2], tf.float32)
    std = _root(_variance(hsv) * (pixels / (pixels - 1.0)))
    return tf.reshape(tf.stack([_mean(hsv), std], axis=-1), [-1, 4])


def _colourfulness(image: tf.Tensor) -> tf.Tensor:
    red, green, blue = tf.unstack(image, axis=-1)
    opponents = tf.stack([red - green, 0.5 * (red + green) - blue], axis=-1)
    lab = _cielab_ab(image / 255.0)
    chroma = _root(tf.reduce_sum(tf.square(lab), axis=-1))
    spread = _spread(lab)
    values = [
        spread + 0.37 * _offset(lab),
        spread + 0.94 * _mean(chroma),
        _spread(opponents) + 0.3 * _offset(opponents),
    ]
    return tf.stack(values, axis=-1) / 100.0


def _spread(values: tf.Tensor) -> tf.Tensor:
    """Root of the summed variances of two channels, `(batch_size,)`."""
    return _root(tf.reduce_sum(_variance(values), axis=-1))


def _offset(values: tf.Tensor) -> tf.Tensor:
    """Length of the mean of two channels, `(batch_size,)`."""
    return _root(tf.reduce_sum(tf.square(_mean(values)), axis=-1))


def _cielab_ab(image: tf.Tensor) -> tf.Tensor:
    """a* and b* of sRGB in 0..1, `(batch_size, height, width, 2)`."""
    linear = tf.where(image <= 0.04045, image / 12.92, _power((image + 0.055) / 1.055, 2.4))
    to_white = RGB_TO_XYZ / RGB_TO_XYZ.sum(axis=1, keepdims=True)
    xyz = tf.tensordot(linear, tf.constant(to_white.T, tf.float32), 1)
    cube_root = _power(tf.maximum(xyz, LAB_EDGE**3), 1 / 3)
    x, y, z = tf.unstack(
        tf.where(xyz > LAB_EDGE**3, cube_root, xyz / (3 * LAB_EDGE**2) + 4 / 29), axis=-1
    )
    return tf.stack([500.0 * (x - y), 200.0 * (y - z)], axis=-1)


def _power(values: tf.Tensor, exponent: float) -> tf.Tensor:
    """Of positive values; several times faster than `**`, as exact."""
    return tf.exp(exponent * tf.math.log(values))


def _highlights(counts: tf.Tensor) -> tf.Tensor:
    burnt = counts[..., -1]
    plane = tf.argmax(burnt, axis=-1)
    chosen = tf.gather(counts, plane, batch_dims=1)
    occurs = tf.cast(chosen > 0, tf.int32)
    lowest = tf.argmax(occurs, axis=-1, output_type=tf.int32)[:, None]
    highest = LEVELS - 1 - tf.argmax(occurs[:, ::-1], axis=-1, output_type=tf.int32)[:, None]
    height = LEVELS * (tf.range(LEVELS) - lowest)
    span = tf.maximum(highest - lowest, 1)
    pixels = tf.reduce_sum(chosen, axis=-1)
    in_top = [
        tf.reduce_sum(tf.where(height >= (LEVELS - top) * span, chosen, 0), axis=-1)
        for top in TOP_LEVELS
    ]
    peak = tf.reduce_max(counts, axis=[1, 2])
    most_burnt = tf.reduce_max(burnt, axis=-1)
    shares = [part / pixels for part in in_top]
    shares += [most_burnt / peak, most_burnt / pixels]
    return tf.cast(tf.stack(shares, axis=-1), tf.float32)


def _variance(values: tf.Tensor) -> tf.Tensor:
    return _mean(tf.square(values - _mean(values)[:, None, None]))


def _mean(values: tf.Tensor) -> tf.Tensor:
    """Over height and width, row by row: one sum of all pixels would lose digits in float32."""
    return tf.reduce_mean(tf.reduce_mean(values, axis=2), axis=1)


def _root(values: tf.Tensor) -> tf.Tensor:
    """Square root whose gradient at 0 is 0."""
    return tf.sqrt(tf.maximum(values, EPSILON))
