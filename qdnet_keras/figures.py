"""The ladder: one picture at ascending targets, with captions."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from qdnet_keras.images import from_float, working_copy

TILE_HEIGHT = 360
MAX_WIDTH = 1600
GAP, ROW_GAP = 16, 28
MARGIN = 20
FIRST_SIZE, OTHER_SIZE = 22, 17  # of the caption's lines
FIRST_COLOUR, OTHER_COLOUR = "#1a1a1a", "#666666"
LINE = 27


def tile(pixels: np.ndarray, height: int = TILE_HEIGHT) -> np.ndarray:
    """A picture small enough for a ladder: uint8 or uint16 `[H, W, 3]` to uint8 `[h, w, 3]`.

    `h` is `height`, or `H` where that is less; pictures are never enlarged.
    """
    long_side = round(height * max(pixels.shape[:2]) / pixels.shape[0])
    return from_float(working_copy(pixels, long_side), np.uint8)


def ladder(
    tiles: list[tuple[np.ndarray, str]],
    *,
    tile_height: int = TILE_HEIGHT,
    max_width: int = MAX_WIDTH,
) -> np.ndarray:
    """Tiles from left to right on white, each with its caption below.

    Rows wrap at `max_width` and are as equally long as they can be; a single tile may be wider.

    Args:
        tiles: Pictures, uint8 or uint16 `[H, W, 3]`, with captions; a caption's first line is
            set larger than the others.
        tile_height: Pictures that are higher are shrunk to this height, pixels.
        max_width: Pixels.

    Returns:
        uint8 `[height, width, 3]`.
    """
    pictures = [tile(pixels, tile_height) for pixels, _ in tiles]
    captions = [caption.split("\n") for _, caption in tiles]
    column = max(
        *(picture.shape[1] for picture in pictures),
        *(
            math.ceil(_font(i).getlength(line))
            for lines in captions
            for i, line in enumerate(lines)
        ),
    )
    most = max(1, (max_width - 2 * MARGIN + GAP) // (column + GAP))
    rows = math.ceil(len(tiles) / most)
    columns = math.ceil(len(tiles) / rows)
    picture_height = max(picture.shape[0] for picture in pictures)
    row_height = picture_height + GAP // 2 + LINE * max(map(len, captions)) + ROW_GAP

    width = 2 * MARGIN + columns * (column + GAP) - GAP
    canvas = Image.new("RGB", (width, 2 * MARGIN + rows * row_height - ROW_GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for index, (picture, lines) in enumerate(zip(pictures, captions, strict=True)):
        left = MARGIN + index % columns * (column + GAP)
        top = MARGIN + index // columns * row_height
        canvas.paste(Image.fromarray(picture), (left, top))
        for number, line in enumerate(lines):
            colour = OTHER_COLOUR if number else FIRST_COLOUR
            place = (left, top + picture_height + GAP // 2 + LINE * (number + 1) - 6)
            draw.text(place, line, fill=colour, font=_font(number), anchor="ls")
    return np.asarray(canvas)


def _font(line: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(OTHER_SIZE if line else FIRST_SIZE)
