"""Pictures of results."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from qdnet_keras.images import Photo, write_photo

GAP, CAPTION, TEXT_SIZE = 12, 44, 22


def ladder(
    tiles: Sequence[tuple[np.ndarray, str]], tile_width: int = 480, columns: int = 3
) -> Image.Image:
    """The same picture at ascending targets, each with a caption below, in rows on white.

    Args:
        tiles: Pictures, uint8 or uint16 `[height, width, 3]`, with their captions.
        tile_width: Width of a tile, pixels; heights follow from the pictures.
        columns: Tiles a row.
    """
    columns = min(columns, len(tiles))
    pictures = [_fit(pixels, tile_width) for pixels, _ in tiles]
    height = max(picture.height for picture in pictures)
    rows = -(-len(tiles) // columns)
    size = (
        GAP + columns * (tile_width + GAP),
        GAP + rows * (height + CAPTION),
    )
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=TEXT_SIZE)
    for index, (picture, (_, caption)) in enumerate(zip(pictures, tiles, strict=True)):
        left = GAP + index % columns * (tile_width + GAP)
        top = GAP + index // columns * (height + CAPTION)
        sheet.paste(picture, (left, top))
        middle = (left + tile_width // 2, top + height + CAPTION // 2 - 4)
        draw.text(middle, caption, fill="black", font=font, anchor="mm")
    return sheet


def _fit(pixels: np.ndarray, width: int) -> Image.Image:
    if pixels.dtype == np.uint16:
        pixels = np.round(pixels / 257.0).astype(np.uint8)
    picture = Image.fromarray(pixels)
    height = max(1, round(width * picture.height / picture.width))
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def save_figure(figure: Image.Image, path: Path, force: bool = False) -> None:
    """Writes a figure as PNG under its final name only when it is complete.

    Raises:
        OutputError: If it exists and `force` is false, or cannot be written.
    """
    write_photo(Photo(np.asarray(figure), None, False, "PNG"), path, force=force)
