"""How often `novelty` takes photographs for something else, and what it makes of what is none.

    python scripts/check_novelty.py PHOTOS... [--preset PRESET] [--json]

PHOTOS are photographs or folders of them. Beside them it looks at pictures made here: flat colours,
colour ramps, noise, text, the same scanned, drawings of shapes, line drawings, windows of a
program.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image, ImageDraw, ImageFilter

from qdnet_keras.cli.output import run_script
from qdnet_keras.defaults import DEFAULT_PRESET

LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))
Random = np.random.Generator


def flat(random: Random, width: int, height: int) -> np.ndarray:
    return np.tile(random.integers(0, 256, 3, np.uint8), (height, width, 1))


def ramp(random: Random, width: int, height: int) -> np.ndarray:
    colours = np.linspace(0, 1, width)[None, :, None] * random.integers(100, 256, 3)
    return np.broadcast_to(colours, (height, width, 3)).astype(np.uint8)


def white_noise(random: Random, width: int, height: int) -> np.ndarray:
    return random.integers(0, 256, (height, width, 3), np.uint8)


def grey_noise(random: Random, width: int, height: int) -> np.ndarray:
    values = random.normal(128, random.uniform(5, 40), (height, width, 1))
    return np.clip(values, 0, 255).astype(np.uint8).repeat(3, axis=2)


def text(random: Random, width: int, height: int) -> np.ndarray:
    return np.asarray(_page(random, width, height))


def scan(random: Random, width: int, height: int) -> np.ndarray:
    soft = _page(random, width, height).filter(ImageFilter.GaussianBlur(0.7))
    grain = random.normal(0, 3, (height, width, 3))
    return np.clip(np.asarray(soft) + grain, 0, 255).astype(np.uint8)


def drawing(random: Random, width: int, height: int) -> np.ndarray:
    return np.asarray(_shapes(random, width, height))


def line_drawing(random: Random, width: int, height: int) -> np.ndarray:
    edges = _shapes(random, width, height).convert("L").filter(ImageFilter.FIND_EDGES)
    return 255 - np.asarray(edges)[..., None].repeat(3, axis=2)


def window(random: Random, width: int, height: int) -> np.ndarray:
    picture = Image.new("RGB", (width, height), (245, 245, 248))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, width, 30), fill=(40, 60, 110))
    draw.rectangle((0, 30, 120, height), fill=(225, 228, 235))
    for y in range(40, height - 20, 22):
        draw.text((10, y), _word(random), fill=(60, 60, 60))
        draw.text((140, y), _line(random, width - 160), fill=(30, 30, 30))
        if random.random() < 0.2:
            colour = _colour(random)
            draw.rectangle((width - 100, y, width - 30, y + 16), fill=colour)
    return np.asarray(picture)


MAKERS: dict[str, Callable[[Random, int, int], np.ndarray]] = {
    "flat colours": flat,
    "ramps": ramp,
    "white noise": white_noise,
    "grey noise": grey_noise,
    "text": text,
    "scanned text": scan,
    "drawings": drawing,
    "line drawings": line_drawing,
    "windows": window,
}


def _page(random: Random, width: int, height: int) -> Image.Image:
    page = Image.new("RGB", (width, height), (250, 249, 245))
    draw = ImageDraw.Draw(page)
    for y in range(20, height - 20, 14):
        draw.text((20, y), _line(random, width - 60), fill=(20, 20, 20))
    return page


def _shapes(random: Random, width: int, height: int) -> Image.Image:
    picture = Image.new("RGB", (width, height), _colour(random, 180))
    draw = ImageDraw.Draw(picture)
    for _ in range(random.integers(6, 18)):
        left, top = int(random.integers(width)), int(random.integers(height))
        right = left + int(random.integers(10, width // 2))
        bottom = top + int(random.integers(10, height // 2))
        shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        fill = _colour(random) if random.random() < 0.7 else None
        pen = int(random.integers(1, 5))
        shape((left, top, right, bottom), fill=fill, outline=(0, 0, 0), width=pen)
    return picture


def _colour(random: Random, darkest: int = 0) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in random.integers(darkest, 256, 3))
    return red, green, blue


def _word(random: Random) -> str:
    return "".join(random.choice(LETTERS, random.integers(2, 9)))


def _line(random: Random, width: int) -> str:
    return " ".join(_word(random) for _ in range(max(width // 45, 1)))


def main(
    photos: Annotated[list[Path], typer.Argument(help="Photographs, or folders of them.")],
    preset: Annotated[str, typer.Option(help="Name or folder of a preset.")] = DEFAULT_PRESET,
    every: Annotated[int, typer.Option(help="Take every n-th photograph.")] = 1,
    count: Annotated[int, typer.Option(help="Pictures made of each kind.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the made pictures.")] = 0,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    from rich.progress import track

    from qdnet_keras.model.qdnet import QDNet
    from qdnet_keras.model.scoring import score_pixels
    from qdnet_keras.photos.files import find_photos, read_photo

    model = QDNet.from_preset(preset)
    files = list(find_photos(photos))[::every]
    found = {
        "photographs": [
            score_pixels(model, read_photo(file).srgb).novelty
            for file in track(files, "Photographs")
        ]
    }
    random = np.random.default_rng(seed)
    for name, make in MAKERS.items():
        sizes = random.integers(256, 700, (count, 2))
        pictures = (make(random, int(width), int(height)) for width, height in sizes)
        found[name] = [score_pixels(model, picture).novelty for picture in pictures]
    figures = {
        name: {
            "pictures": len(values),
            "flagged": float(np.mean(np.array(values) > 1)),
            "median novelty": float(np.median(values)),
        }
        for name, values in found.items()
    }
    if json_output:
        print(json.dumps(figures))
        return
    print(f"{'':16s}{'pictures':>10s}{'flagged':>10s}{'median':>10s}")
    for name, row in figures.items():
        cells = f"{row['pictures']:10d}{row['flagged']:10.3f}{row['median novelty']:10.2f}"
        print(f"{name:16s}{cells}")


if __name__ == "__main__":
    run_script(main)
