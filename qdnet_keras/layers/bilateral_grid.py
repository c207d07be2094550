import keras
import tensorflow as tf

AFFINE = 12  # coefficients of a 3×4 colour transform


def interpolation_weights(pixels, size, cells):
    """Bilinear weights of pixels of a line of `size` pixels on `cells` grid cells.

    Pixel and cell centres are at half-integers, as in `tf.image.resize`; pixels outside the
    outermost centres take the outermost cell.

    Args:
        pixels: Integer tensor of pixel indices, shape `(count,)`.
        size, cells: Lengths of the line, scalars.

    Returns:
        Tensor of shape `(count, cells)`, float32, rows summing to 1.
    """
    cells = tf.cast(cells, tf.float32)
    position = (tf.cast(pixels, tf.float32) + 0.5) * cells / tf.cast(size, tf.float32) - 0.5
    position = tf.clip_by_value(position, 0.0, cells - 1.0)
    return tf.maximum(0.0, 1.0 - tf.abs(position[:, None] - tf.range(cells)[None, :]))


@keras.saving.register_keras_serializable("qdnet_keras")
class BilateralGrid(keras.layers.Layer):
    """Slices a bilateral grid of affine colour transforms and applies them to a picture.

    At pixel (y, x) with guide value g the 3×4 transform is interpolated trilinearly at
    (y, x, g) in the grid. Because the guide follows the picture's edges, the transform does
    too, at any resolution. Everything is float32.

    Call arguments:
        grid: Tensor `(batch_size, grid_height, grid_width, depth * 12)`, depth guide cells of
            3×4 transforms.
        guide: Tensor `(batch_size, rows, columns)`, values in 0..1.
        picture: Tensor `(batch_size, rows, columns, 3)`.
        pixels: `(rows, columns)`, integer vectors that say which pixels of the whole picture
            `guide` and `picture` hold. So a large picture is sliced in bands without seams.
        size: `(height, width)` of the whole picture.

    Returns:
        Tensor `(batch_size, rows, columns, 3)`.

    Reference:
        Gharbi et al., "Deep Bilateral Learning for Real-Time Image Enhancement", SIGGRAPH 2017,
        section 3.3 and 3.4.
    """

    def call(self, grid, guide, picture, pixels, size):
        cells_y, cells_x = tf.shape(grid)[1], tf.shape(grid)[2]
        down = interpolation_weights(pixels[0], size[0], cells_y)
        across = interpolation_weights(pixels[1], size[1], cells_x)
        lines = tf.einsum("yi,bijc->byjc", down, grid)

        depth = grid.shape[-1] // AFFINE
        position = guide * (depth - 1.0)
        transform = 0.0
        for cell, layer in enumerate(tf.split(lines, depth, axis=-1)):
            weight = tf.maximum(0.0, 1.0 - tf.abs(position - cell))
            transform += weight[..., None] * tf.einsum("xj,byjc->byxc", across, layer)
        transform = tf.reshape(transform, [*tf.unstack(tf.shape(picture))[:3], 3, 4])
        matrix, offset = transform[..., :3], transform[..., 3]
        return tf.reduce_sum(matrix * picture[..., None, :], axis=-1) + offset
