"""G: decoders that render content n at latent quality z.

Both heads also express a *change* of quality, G(n, ẑ) − G(n, z), as a grid of affine colour
transforms of the normalised picture. Such a grid re-renders the original pixels at any resolution,
tile by tile, and leaves them as they are where ẑ = z.
"""

import keras
import tensorflow as tf
from keras import ops

from qdnet_keras.model.colour import add_change
from qdnet_keras.model.layers import AdaINBlock, BilateralGrid, ResizeLike
from qdnet_keras.model.layers.bilateral_grid import AFFINE


def take_pixels(picture, pixels):
    """The rows and columns of a `(batch_size, height, width, channels)` picture."""
    rows, columns = pixels
    return ops.take(ops.take(picture, rows, axis=1), columns, axis=2)


class _UNet(keras.layers.Layer):
    """AdaIN-modulated U-Net trunk from stage 5 down to the stage `last`.

    Each step resizes what it has to the next stage's size and joins that stage's content.
    """

    def __init__(self, last, width, **kwargs):
        super().__init__(autocast=False, **kwargs)
        policy = self.dtype_policy
        self.stages = list(range(5, last - 1, -1))
        widths = [max(width * 2 // 2 ** (5 - stage), 16) for stage in self.stages]
        self.skips = [
            keras.layers.Conv2D(w, 1, dtype=policy, name=f"skip_{stage}")
            for stage, w in zip(self.stages, widths, strict=True)
        ]
        self.blocks = [
            AdaINBlock(w, dtype=policy, name=f"block_{stage}")
            for stage, w in zip(self.stages, widths, strict=True)
        ]
        self.resize = ResizeLike(dtype=policy)
        self.width = widths[-1]

    def build(self, contents_shape, z_shape):
        self.resize.build((None, None, None, None))
        channels = 0
        for stage, skip, block in zip(self.stages, self.skips, self.blocks, strict=True):
            skip.build(contents_shape[stage])
            block.build((None, None, None, channels + skip.filters), z_shape)
            channels = block.filters

    def call(self, contents, z):
        features = None
        for stage, skip, block in zip(self.stages, self.skips, self.blocks, strict=True):
            joined = skip(contents[stage])
            if features is not None:
                joined = ops.concatenate([self.resize(features, joined), joined], axis=-1)
            features = block(joined, z)
        return features


class Decoder(keras.layers.Layer):
    """What the two heads share.

    Args:
        width: Channels of the second-coarsest stage of the U-Net; halved at each finer one, at
            least 16.

    Call arguments:
        contents: The contents n of the six stages, `(batch_size, height_i, width_i, channels_i)`.
        z: Latent quality of shape `(batch_size, latent_dim)`, float32.
        pixels: `(rows, columns)`, integer vectors of the pixels to render; default all.

    Returns:
        Picture of shape `(batch_size, rows, columns, 3)`, float32, sRGB-encoded; nominally 0..1
        but not clipped, so that gradients live at the limits.
    """

    LAST_STAGE: int
    change_channels: int

    def __init__(self, width=64, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.width = width
        self.unet = _UNet(self.LAST_STAGE, width, dtype=self.dtype_policy, name="unet")
        self.bilateral = BilateralGrid(dtype="float32")

    def guide(self, content):
        """Guide of the bilateral grid, 0..1, for normalised pixels `(..., 3)`."""
        raise NotImplementedError

    def build(self, contents_shape, z_shape):
        self.unet.build(contents_shape, z_shape)
        self.bilateral.build((None, None, None, self.change_channels))

    def change(self, contents, z, new_z):
        """The change from quality z to new_z, `(batch_size, cells_y, cells_x, change_channels)`."""
        raise NotImplementedError

    def rerender(self, picture, change, content, pixels, size):
        """The picture, or a part of it, with its quality changed.

        Args:
            picture: `(batch_size, rows, columns, 3)`, values in 0..1.
            change: What `change` gave for the whole picture.
            content: `picture` normalised by the whole picture's mean and standard deviation.
            pixels: `(rows, columns)`, integer vectors that say which pixels these are.
            size: `(height, width)` of the whole picture.

        Returns:
            Tensor of the shape of `picture`, float32, not clipped.
        """
        return add_change(picture, self.render(change, content, pixels, size))

    def render(self, grid, content, pixels, size):
        """Applies a grid to some pixels of the normalised picture; see `BilateralGrid`."""
        content = ops.cast(content, "float32")
        return self.bilateral(grid, self.guide(content), content, pixels=pixels, size=size)

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable("qdnet_keras")
class RGBDecoder(Decoder):
    """The paper's decoder: an AdaIN U-Net over all stages that ends in three colour channels."""

    LAST_STAGE = 0
    change_channels = AFFINE
    WINDOW = 9
    EPSILON = 1e-2

    def __init__(self, width=64, **kwargs):
        super().__init__(width, **kwargs)
        self.colour = keras.layers.Conv2D(3, 1, dtype="float32", name="colour")

    def build(self, contents_shape, z_shape):
        super().build(contents_shape, z_shape)
        self.colour.build((None, None, None, self.unet.width))

    def call(self, contents, z, pixels=None):
        picture = self.colour(self.unet(contents, z)) + 0.5
        return picture if pixels is None else take_pixels(picture, pixels)

    def guide(self, content):
        return ops.zeros_like(content[..., 0])

    def change(self, contents, z, new_z):
        """Fits the change around each pixel as a linear function of the normalised picture.

        One guide cell, one grid cell a pixel, each channel on its own: the coefficients of the
        guided filter, which keep the original's edges when they are enlarged.

        Reference:
            He, Sun and Tang, "Guided Image Filtering", TPAMI 2013, eq. (5)-(8).
        """
        guide = ops.cast(contents[0], "float32")
        difference = self(contents, new_z) - self(contents, z)
        mean, mean_difference = self._window_mean(guide), self._window_mean(difference)
        covariance = self._window_mean(guide * difference) - mean * mean_difference
        variance = self._window_mean(guide * guide) - mean * mean
        slope = covariance / (variance + self.EPSILON)
        slope, offset = self._window_mean(slope), self._window_mean(mean_difference - slope * mean)
        zero = ops.zeros_like(slope[..., 0])
        red, green, blue = (slope[..., i] for i in range(3))
        rows = [
            [red, zero, zero, offset[..., 0]],
            [zero, green, zero, offset[..., 1]],
            [zero, zero, blue, offset[..., 2]],
        ]
        return ops.stack([coefficient for row in rows for coefficient in row], axis=-1)

    def _window_mean(self, values):
        return tf.nn.avg_pool2d(values, self.WINDOW, 1, "SAME")


@keras.saving.register_keras_serializable("qdnet_keras")
class GridDecoder(Decoder):
    """An AdaIN U-Net over the coarse stages that predicts a bilateral grid of colour transforms.

    The grid (at 1/8 of the picture's size) is sliced by a guide computed from the normalised
    picture and applied to the normalised picture. So z cannot be bypassed, edges stay sharp, and
    the same grid renders the picture at any resolution.

    Args:
        width: See `Decoder`.
        depth: Guide cells of the grid.

    Reference:
        Gharbi et al., "Deep Bilateral Learning for Real-Time Image Enhancement", SIGGRAPH 2017.
    """

    LAST_STAGE = 3
    GUIDE_UNITS = 16

    def __init__(self, width=64, depth=8, **kwargs):
        super().__init__(width, **kwargs)
        self.depth = depth
        self.change_channels = depth * AFFINE
        self.transforms = keras.layers.Conv2D(
            self.change_channels, 1, kernel_initializer="zeros", dtype="float32", name="transforms"
        )
        self.guide_hidden = keras.layers.Dense(
            self.GUIDE_UNITS, "relu", dtype="float32", name="guide_hidden"
        )
        self.guide_output = keras.layers.Dense(1, "sigmoid", dtype="float32", name="guide_output")

    def build(self, contents_shape, z_shape):
        super().build(contents_shape, z_shape)
        self.transforms.build((None, None, None, self.unet.width))
        self.transforms.bias.assign(ops.tile(ops.array(_GREY_START), [self.depth]))
        self.guide_hidden.build((None, None, None, 3))
        self.guide_output.build((None, None, None, self.GUIDE_UNITS))

    def call(self, contents, z, pixels=None):
        content = contents[0]
        size = ops.shape(content)[1:3]
        if pixels is None:
            pixels = (ops.arange(size[0]), ops.arange(size[1]))
        else:
            content = take_pixels(content, pixels)
        return self.render(self.grid(contents, z), content, pixels, size)

    def grid(self, contents, z):
        """Colour transforms, shape `(batch_size, height / 8, width / 8, depth * 12)`, float32."""
        return self.transforms(self.unet(contents, z))

    def guide(self, content):
        return self.guide_output(self.guide_hidden(content))[..., 0]

    def change(self, contents, z, new_z):
        return self.grid(contents, new_z) - self.grid(contents, z)

    def get_config(self):
        return {**super().get_config(), "depth": self.depth}


# The transform that shows normalised content as a grey-world picture: 0.2 n + 0.5.
_GREY_START = (0.2, 0.0, 0.0, 0.5, 0.0, 0.2, 0.0, 0.5, 0.0, 0.0, 0.2, 0.5)

HEADS = {"rgb": RGBDecoder, "grid": GridDecoder}
