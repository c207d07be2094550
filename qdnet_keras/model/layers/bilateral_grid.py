import keras
import tensorflow as tf

from qdnet_keras.model.types import Pixels, Tensor

AFFINE = 12  # coefficients of a 3×4 colour transform


def grid_position(pixels: Tensor, size: Tensor, cells: Tensor) -> Tensor:
    """Where pixels of a line of `size` pixels lie on a line of `cells` grid cells.

    Pixel and cell centres are at half-integers, as in `tf.image.resize`; pixels outside the
    outermost centres lie on the outermost cell.

    Args:
        pixels: Integer tensor of pixel indices, shape `(count,)`.
        size, cells: Lengths of the line, scalars.

    Returns:
        Tensor of shape `(count,)`, float32, values in 0..cells - 1.
    """
    cells = tf.cast(cells, tf.float32)
    position = (tf.cast(pixels, tf.float32) + 0.5) * cells / tf.cast(size, tf.float32) - 0.5
    return tf.clip_by_value(position, 0.0, cells - 1.0)


def _neighbours(position: Tensor, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The two cells around each position and the share of the second."""
    first = tf.minimum(tf.cast(position, tf.int32), tf.maximum(cells - 2, 0))
    return first, tf.minimum(first + 1, cells - 1), position - tf.cast(first, tf.float32)


def slice_grid(grid: Tensor, guide: Tensor, depth: int, pixels: Pixels, size: Tensor) -> Tensor:
    """Trilinear interpolation of a bilateral grid.

    Args:
        grid: Tensor `(batch_size, grid_height, grid_width, depth * channels)`.
        guide: Tensor `(batch_size, rows, columns)`, values in 0..1: where between the first and
            the last of the `depth` guide cells a pixel lies.
        depth: Number of guide cells.
        pixels: `(rows, columns)`, integer vectors that say which pixels of the whole picture
            `guide` holds. So a large picture is sliced in bands without seams.
        size: `(height, width)` of the whole picture.

    Returns:
        Tensor `(batch_size, rows, columns, channels)`.
    """
    batch, rows, columns = tf.unstack(tf.shape(guide))
    cells_y, cells_x, channels = tf.shape(grid)[1], tf.shape(grid)[2], grid.shape[-1] // depth

    above, below, share = _neighbours(grid_position(pixels[0], size[0], cells_y), cells_y)
    share = share[:, None, None]
    lines = tf.gather(grid, above, axis=1) * (1.0 - share)
    lines += tf.gather(grid, below, axis=1) * share
    lines = tf.reshape(lines, [batch * rows, cells_x * depth, channels])

    left, right, across = _neighbours(grid_position(pixels[1], size[1], cells_x), cells_x)
    guide = tf.reshape(guide, [batch * rows, columns]) * (depth - 1.0)
    dark, bright, along = _neighbours(guide, depth)
    across, along = across[:, None], along[..., None]

    def cell(x: Tensor, g: Tensor) -> Tensor:
        return tf.gather(lines, x * depth + g, batch_dims=1)

    sliced = (cell(left, dark) * (1.0 - along) + cell(left, bright) * along) * (1.0 - across)
    sliced += (cell(right, dark) * (1.0 - along) + cell(right, bright) * along) * across
    return tf.reshape(sliced, [batch, rows, columns, channels])


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
        pixels, size: See `slice_grid`.

    Returns:
        Tensor `(batch_size, rows, columns, 3)`.

    Reference:
        Gharbi et al., "Deep Bilateral Learning for Real-Time Image Enhancement", SIGGRAPH 2017,
        section 3.3 and 3.4.
    """

    def call(
        self, grid: Tensor, guide: Tensor, picture: Tensor, pixels: Pixels, size: Tensor
    ) -> Tensor:
        depth = grid.shape[-1] // AFFINE
        transform = slice_grid(grid, guide, depth, pixels, size)
        transform = tf.reshape(transform, [*tf.unstack(tf.shape(picture))[:3], 3, 4])
        matrix, offset = transform[..., :3], transform[..., 3]
        return tf.reduce_sum(matrix * picture[..., None, :], axis=-1) + offset
