"""The ladder: one picture at ascending targets, with captions."""

import base64
import io
import math
from typing import NamedTuple
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from qdnet_keras.photos.files import from_float, working_copy

TILE_HEIGHT = 360
MAX_WIDTH = 1600
GAP, ROW_GAP = 16, 28
MARGIN = 20
LINE = 27
SIZES = 22, 17  # of a caption's first line and of the others, pixels
PRINT_WIDTH = 1450  # pixels; `SIZES` in a figure so wide are 8 and 6 points over a printed page
FIRST_COLOUR, OTHER_COLOUR = "#1a1a1a", "#666666"

Tile = tuple[np.ndarray, str]


class Placed(NamedTuple):
    """A picture, uint8, with its corner, and its caption's lines: baseline, size, text. Pixels."""

    left: int
    top: int
    picture: np.ndarray
    lines: list[tuple[int, int, str]]


def tile(pixels: np.ndarray, height: int = TILE_HEIGHT) -> np.ndarray:
    """A picture small enough for a ladder: uint8 or uint16 `[H, W, 3]` to uint8 `[h, w, 3]`.

    `h` is `height`, or `H` where that is less; pictures are never enlarged.
    """
    long_side = round(height * max(pixels.shape[:2]) / pixels.shape[0])
    return from_float(working_copy(pixels, long_side), np.uint8)


def ladder(
    tiles: list[Tile],
    *,
    columns: int | None = None,
    tile_height: int = TILE_HEIGHT,
    max_width: int = MAX_WIDTH,
    for_print: bool = False,
) -> np.ndarray:
    """Tiles from left to right on white, each with its caption below.

    Args:
        tiles: Pictures, uint8 or uint16 `[H, W, 3]`, with captions; a caption's first line is
            set larger than the others.
        columns: Tiles a row. Without it rows wrap at `max_width` and are as equally long as they
            can be; a single tile may be wider.
        tile_height: Pictures that are higher are shrunk to this height, pixels.
        max_width: Pixels.
        for_print: Whether captions of a wide figure grow, to be read when it is a page wide.

    Returns:
        uint8 `[height, width, 3]`.
    """
    width, height, placed = _layout(tiles, columns, tile_height, max_width, for_print)
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    for left, top, picture, lines in placed:
        canvas.paste(Image.fromarray(picture), (left, top))
        for (baseline, size, line), colour in zip(lines, _colours(lines), strict=True):
            draw.text((left, baseline), line, fill=colour, font=_font(size), anchor="ls")
    return np.asarray(canvas)


def ladder_svg(
    tiles: list[Tile],
    *,
    columns: int | None = None,
    tile_height: int = TILE_HEIGHT,
    max_width: int = MAX_WIDTH,
    for_print: bool = False,
) -> str:
    """The figure of `ladder` as SVG: captions stay text, pictures are embedded JPEG of 95."""
    width, height, placed = _layout(tiles, columns, tile_height, max_width, for_print)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="Helvetica, Arial, sans-serif">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for left, top, picture, lines in placed:
        rows, columns = picture.shape[:2]
        parts.append(
            f'<image x="{left}" y="{top}" width="{columns}" height="{rows}" '
            f'href="data:image/jpeg;base64,{_jpeg(picture)}"/>'
        )
        parts += [
            f'<text x="{left}" y="{baseline}" font-size="{size}" fill="{colour}">'
            f"{escape(line)}</text>"
            for (baseline, size, line), colour in zip(lines, _colours(lines), strict=True)
        ]
    return "\n".join([*parts, "</svg>\n"])


def _layout(
    tiles: list[Tile], columns: int | None, tile_height: int, max_width: int, for_print: bool
) -> tuple[int, int, list[Placed]]:
    """Width and height of the figure, and where its tiles go."""
    pictures = [tile(pixels, tile_height) for pixels, _ in tiles]
    captions = [caption.split("\n") for _, caption in tiles]
    widest = max(picture.shape[1] for picture in pictures)
    scale = 1.0
    if for_print and columns is not None:
        scale = max(1.0, columns * (widest + GAP) / PRINT_WIDTH)
    first, other, line_height = (round(scale * size) for size in (*SIZES, LINE))
    sizes = [[first] + [other] * (len(lines) - 1) for lines in captions]
    widths = [
        math.ceil(_font(size).getlength(line))
        for lines, of_lines in zip(captions, sizes, strict=True)
        for line, size in zip(lines, of_lines, strict=True)
    ]
    column = max(widest, *widths)
    if columns is None:
        most = max(1, (max_width - 2 * MARGIN + GAP) // (column + GAP))
        columns = math.ceil(len(tiles) / math.ceil(len(tiles) / most))
    rows = math.ceil(len(tiles) / columns)
    picture_height = max(picture.shape[0] for picture in pictures)
    row_height = picture_height + GAP // 2 + line_height * max(map(len, captions)) + ROW_GAP
    placed = []
    for index, (picture, lines, of_lines) in enumerate(zip(pictures, captions, sizes, strict=True)):
        left = MARGIN + index % columns * (column + GAP)
        top = MARGIN + index // columns * row_height
        start = top + picture_height + GAP // 2 - round(6 * scale)
        numbered = enumerate(zip(of_lines, lines, strict=True), start=1)
        texts = [(start + line_height * number, size, line) for number, (size, line) in numbered]
        placed.append(Placed(left, top, picture, texts))
    width = 2 * MARGIN + columns * (column + GAP) - GAP
    return width, 2 * MARGIN + rows * row_height - ROW_GAP, placed


def _colours(lines: list[tuple[int, int, str]]) -> list[str]:
    return [FIRST_COLOUR] + [OTHER_COLOUR] * (len(lines) - 1)


def _jpeg(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95, subsampling=0)
    return base64.b64encode(buffer.getvalue()).decode()


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
