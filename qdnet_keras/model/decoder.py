"""G: decoders that render content n at latent quality z.

Both heads also express a *change* of quality as a grid that re-renders the original pixels at any
resolution, tile by tile, and leaves them as they are where ẑ = z.
"""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from qdnet_keras.model.colour import add_change
from qdnet_keras.model.layers import AdaINBlock, BilateralGrid, ResizeLike
from qdnet_keras.model.layers.bilateral_grid import AFFINE, slice_grid
from qdnet_keras.model.layers.tone_grid import KNOTS, TONE_CHANNELS, ToneGrid, luminance
from qdnet_keras.model.tone import Tones, change_between
from qdnet_keras.model.types import Pixels, Shape, Tensor

STAGES = 6


def take_pixels(picture: Tensor, pixels: Pixels) -> Tensor:
    """The rows and columns of a `(batch_size, height, width, channels)` picture."""
    rows, columns = pixels
    return ops.take(ops.take(picture, rows, axis=1), columns, axis=2)


class _UNet(keras.layers.Layer):
    """AdaIN-modulated U-Net trunk from stage 5 down to the stage `last`.

    Each step resizes what it has to the next stage's size and joins that stage's content. Stages
    are counted from the end, so that contents before `last` may be left out.
    """

    def __init__(self, last: int, width: int, **kwargs: Any) -> None:
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

    def build(self, contents_shape: list[Shape], z_shape: Shape) -> None:
        self.resize.build((None, None, None, None))
        channels = 0
        for stage, skip, block in zip(self.stages, self.skips, self.blocks, strict=True):
            skip.build(contents_shape[stage])
            block.build((None, None, None, channels + skip.filters), z_shape)
            channels = block.filters

    def call(self, contents: list[Tensor], z: Tensor) -> Tensor:
        features = None
        for stage, skip, block in zip(self.stages, self.skips, self.blocks, strict=True):
            joined = skip(contents[stage - STAGES])
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

    def __init__(self, width: int = 64, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.width = width
        self.unet = _UNet(self.LAST_STAGE, width, dtype=self.dtype_policy, name="unet")

    def build(self, contents_shape: list[Shape], z_shape: Shape) -> None:
        self.unet.build(contents_shape, z_shape)

    def change(self, contents: list[Tensor], z: Tensor, new_z: Tensor) -> Tensor:
        """The change from quality z to new_z, `(batch_size, cells_y, cells_x, change_channels)`.

        Contents of the stages before `LAST_STAGE` may be left out.
        """
        raise NotImplementedError

    def rerender(
        self, picture: Tensor, change: Tensor, content: Tensor, pixels: Pixels, size: Tensor
    ) -> Tensor:
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
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable("qdnet_keras")
class RGBDecoder(Decoder):
    """The paper's decoder: an AdaIN U-Net over all stages that ends in three colour channels."""

    LAST_STAGE = 0
    change_channels = AFFINE
    WINDOW = 9
    EPSILON = 1e-2

    def __init__(self, width: int = 64, **kwargs: Any) -> None:
        super().__init__(width, **kwargs)
        self.colour = keras.layers.Conv2D(3, 1, dtype="float32", name="colour")
        self.bilateral = BilateralGrid(dtype="float32")

    def build(self, contents_shape: list[Shape], z_shape: Shape) -> None:
        super().build(contents_shape, z_shape)
        self.colour.build((None, None, None, self.unet.width))
        self.bilateral.build((None, None, None, AFFINE))

    def call(self, contents: list[Tensor], z: Tensor, pixels: Pixels | None = None) -> Tensor:
        picture = self.colour(self.unet(contents, z)) + 0.5
        return picture if pixels is None else take_pixels(picture, pixels)

    def change(self, contents: list[Tensor], z: Tensor, new_z: Tensor) -> Tensor:
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

    def rerender(
        self, picture: Tensor, change: Tensor, content: Tensor, pixels: Pixels, size: Tensor
    ) -> Tensor:
        content = ops.cast(content, "float32")
        guide = ops.zeros_like(content[..., 0])
        return add_change(picture, self.bilateral(change, guide, content, pixels=pixels, size=size))

    def _window_mean(self, values: Tensor) -> Tensor:
        return tf.nn.avg_pool2d(values, self.WINDOW, 1, "SAME")


@keras.saving.register_keras_serializable("qdnet_keras")
class GridDecoder(Decoder):
    """An AdaIN U-Net over the two coarsest stages that predicts local tone curves and colour.

    For each cell (1/16 of the picture's size) it predicts what z makes of content there: a curve
    that rises strictly, a saturation, and one tint for the whole picture, see
    `qdnet_keras.model.tone`. G(n, z) draws the normalised picture by them, so z cannot be bypassed;
    a change between two qualities cannot reverse an edge, turn a hue or clip, see `ToneGrid`, and
    is sharp at any resolution.

    Args:
        width: See `Decoder`.

    Reference:
        The grid over place and luminance: Gharbi et al., "Deep Bilateral Learning for Real-Time
        Image Enhancement", SIGGRAPH 2017.
    """

    LAST_STAGE = 4
    change_channels = TONE_CHANNELS
    SPREAD = 1.7  # at which the logistic function is near the Gaussian's distribution function
    CHROMA = 0.25  # of content drawn with saturation 0
    DARK = 0.05  # luminance added where chroma is taken relative to it
    STEEPEST, MOST_SATURATION, MOST_TINT = 6.0, 1.5, 0.5
    FLATTEST = 0.01

    def __init__(self, width: int = 48, **kwargs: Any) -> None:
        super().__init__(width, **kwargs)
        self.tones = 2 * KNOTS - 1

        def dense(
            units: int, name: str, activation: str | None = None, start: str = "zeros"
        ) -> keras.layers.Dense:
            return keras.layers.Dense(
                units, activation, kernel_initializer=start, dtype="float32", name=name
            )

        self.cells = keras.layers.Conv2D(
            self.tones, 1, kernel_initializer="zeros", dtype="float32", name="cells"
        )
        self.whole = dense(64, "whole", "gelu", "glorot_uniform")
        self.whole_tones, self.whole_tint = dense(self.tones, "tones"), dense(3, "tint")
        self.tone_grid = ToneGrid(dtype="float32")

    def build(self, contents_shape: list[Shape], z_shape: Shape) -> None:
        super().build(contents_shape, z_shape)
        self.cells.build((None, None, None, self.unet.width))
        self.whole.build((None, self.unet.width + z_shape[-1]))
        for layer in (self.whole_tones, self.whole_tint):
            layer.build((None, self.whole.units))
        self.tone_grid.build((None, None, None, TONE_CHANNELS))

    def call(self, contents: list[Tensor], z: Tensor, pixels: Pixels | None = None) -> Tensor:
        content = ops.cast(contents[0], "float32")
        size = ops.shape(content)[1:3]
        if pixels is None:
            pixels = (ops.arange(size[0]), ops.arange(size[1]))
        else:
            content = take_pixels(content, pixels)
        curve, saturation, tint = self.draw(contents, z)
        light = luminance(content)
        grid = ops.reshape(
            ops.stack([curve, saturation], axis=-1), [*ops.shape(curve)[:3], 2 * KNOTS]
        )
        share = ops.sigmoid(self.SPREAD * light[..., 0])
        drawn = slice_grid(grid, share, KNOTS, pixels, size)
        chroma = ops.exp(drawn[..., 1:]) * self.CHROMA * (content - light)
        return drawn[..., :1] + (drawn[..., :1] + self.DARK) * (chroma + tint[:, None, None, :])

    def draw(self, contents: list[Tensor], z: Tensor) -> Tones:
        """What z makes of content: `Tones`."""
        features = ops.cast(self.unet(contents, z), "float32")
        whole = self.whole(ops.concatenate([ops.mean(features, axis=(1, 2)), z], axis=-1))
        tones = self.cells(features) + self.whole_tones(whole)[:, None, None, :]
        steps = ops.softmax(_soften(tones[..., : KNOTS - 1], self.STEEPEST), axis=-1)
        steps = (1.0 - self.FLATTEST) * steps + self.FLATTEST / (KNOTS - 1)
        curve = ops.pad(ops.cumsum(steps, axis=-1), [[0, 0]] * 3 + [[1, 0]])
        tint = self.whole_tint(whole)
        return Tones(
            curve,
            _soften(tones[..., KNOTS - 1 :], self.MOST_SATURATION),
            _soften(tint - luminance(tint), self.MOST_TINT),
        )

    def change(self, contents: list[Tensor], z: Tensor, new_z: Tensor) -> Tensor:
        return change_between(self.draw(contents, z), self.draw(contents, new_z))

    def rerender(
        self, picture: Tensor, change: Tensor, content: Tensor, pixels: Pixels, size: Tensor
    ) -> Tensor:
        return self.tone_grid(change, picture, pixels=pixels, size=size)


def _soften(values: Tensor, limit: float) -> Tensor:
    return limit * ops.tanh(values / limit)


HEADS = {"rgb": RGBDecoder, "grid": GridDecoder}
