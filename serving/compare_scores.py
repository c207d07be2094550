"""Scores of many pictures by Python, by an exported model and by its server, beside each other.

    python serving/compare_scores.py MODELS/qdnet PHOTOS --count 200
    python serving/compare_scores.py MODELS/qdnet PHOTOS --count 200 --server localhost:8500

The pictures are those of a folder, in random sizes, edits and kinds of files. Python reads each
file and scores it; the exported model gets what the client would send, in a process of its own that
knows nothing of this package, and, with --server, by the client. Exits with 1 where two scores
differ by more than the tolerance.
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from workload import Call, InProcess, newest_version

import qdnet_keras
from qdnet_keras.client import Client, pictures
from qdnet_keras.outcomes import SCORES
from qdnet_keras.photos.files import find_photos, read_photo

TOLERANCE = 1e-4
MEGAPIXELS = (0.003, 6.0)
ORIENTATION = 274


def noise(image: Image.Image, draw: random.Random) -> Image.Image:
    values = np.random.default_rng(draw.randrange(2**32)).integers(0, 256, (*image.size, 3))
    return Image.fromarray(values.astype(np.uint8).swapaxes(0, 1))


EDITS: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "as it is": lambda image, _: image,
    "equalised": lambda image, _: ImageOps.equalize(image),
    "inverted": lambda image, _: ImageOps.invert(image),
    "posterised": lambda image, draw: ImageOps.posterize(image, draw.randint(1, 4)),
    "grey": lambda image, _: image.convert("L").convert("RGB"),
    "dark": lambda image, draw: image.point(lambda value: value * draw.randint(1, 4) // 10),
    "burnt": lambda image, draw: image.point(lambda value: min(255, 3 * value)),
    "flat": lambda image, draw: Image.new("RGB", image.size, draw.choice(["grey", "red", "black"])),
    "noise": noise,
}


def jpeg(image: Image.Image, file: Path, draw: random.Random) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = draw.choice([1, 1, 1, 3, 6, 8])
    options = {"quality": draw.randint(40, 98), "subsampling": draw.choice([0, 1, 2])}
    mode = draw.choice(["RGB", "RGB", "RGB", "L", "CMYK"])
    progressive = draw.random() < 0.3
    image.convert(mode).save(file, "JPEG", progressive=progressive, exif=exif, **options)


def png(image: Image.Image, file: Path, draw: random.Random) -> None:
    mode = draw.choice(["RGB", "RGB", "L", "P", "1", "RGBA"])
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.convert(mode).save(file, "PNG")


KINDS: dict[str, Callable[[Image.Image, Path, random.Random], None]] = {
    "jpg": jpeg,
    "png": png,
    "tif": lambda image, file, _: image.save(file, "TIFF"),
    "webp": lambda image, file, draw: image.save(file, "WebP", quality=draw.randint(40, 100)),
}


def write(source: Path, folder: Path, number: int) -> tuple[Path, str]:
    """One picture in a random size, edit and kind, and the name of its edit."""
    draw = random.Random(number)
    image = Image.fromarray(read_photo(source).pixels)
    megapixels = MEGAPIXELS[0] * (MEGAPIXELS[1] / MEGAPIXELS[0]) ** draw.random()
    aspect = draw.choice([1.5, 4 / 3, 1.0, 0.7, 16 / 9, 3.0])
    width = (megapixels * 1e6 * aspect) ** 0.5
    size = tuple(max(32, round(side)) for side in (width, width / aspect))
    edit = draw.choice(list(EDITS))
    image = EDITS[edit](image.resize(size, Image.Resampling.BICUBIC), draw)
    kind = draw.choice(["jpg", "jpg", "png", "png", "tif", "webp"])
    file = folder / f"{number:03}.{kind}"
    KINDS[kind](image, file, draw)
    return file, edit


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="folder of the model's versions")
    parser.add_argument("photos", type=Path, help="folder of photographs")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--server", metavar="HOST:PORT", help="gRPC port of a server of the model")
    parser.add_argument("--preset", default="people", help="that was exported")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    sources = list(find_photos([options.photos]))
    model = qdnet_keras.load(options.preset)
    exported = InProcess(newest_version(options.model))
    worst = {"exported": 0.0, "server": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.count):
            source = sources[number * len(sources) // options.count]
            file, edit = write(source, Path(folder), number)
            expected = qdnet_keras.score(file, model)
            sent = np.array([pictures.to_score(file)], np.object_)
            (answer,) = exported.answers([Call("score_bytes", {"image_bytes": sent})])
            found = {"exported": {name: float(answer[name][0]) for name in SCORES}}
            if options.server:
                with Client(options.server, timeout=600) as client:
                    found["server"] = vars(client.score(file))
            for way, scores in found.items():
                off = max(abs(scores[name] - getattr(expected, name)) for name in SCORES)
                worst[way] = max(worst[way], off)
                if off > TOLERANCE:
                    print(f"{file.name}, {edit}, {way}: {off:.2g}: {scores}, {expected}")
            file.unlink()
    exported.close()
    ways = [way for way in worst if way != "server" or options.server]
    print(f"{options.count} pictures, largest difference: { ({way: worst[way] for way in ways}) }")
    return int(max(worst.values()) > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
