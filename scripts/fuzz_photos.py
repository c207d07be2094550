"""Reads thousands of damaged photographs of every format: each must end in a picture or a sentence.

    python scripts/fuzz_photos.py --count 10000 --seconds 900

Files are mutated by a generator with a seed of their own, so that `--first SEED --count 1` repeats
one. Prints how many were read and refused, the slowest, and the peak of memory; exits with 1 if any
reading raised something else than `ImageError`, took over 10 seconds, or memory passed 3 GB.
"""

import argparse
import io
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from qdnet_keras.errors import ImageError
from qdnet_keras.photos.colour import ADOBE_RGB
from qdnet_keras.photos.files import FORMATS, Photo, read_photo, write_photo

MOST_SECONDS, MOST_BYTES = 10.0, 3 * 2**30
MARKERS = (b"\0", b"\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\xff\xd9")


def originals() -> list[bytes]:
    """A small file of every format, with profile and metadata, of 8 and 16 bits."""
    y, x = np.mgrid[0:48, 0:64]
    waves = np.stack([x * 4, y * 5, (x + y) * 2], -1)
    exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for name, format in FORMATS.items():
            for dtype, scale in ((np.uint8, 1), (np.uint16, 257)):
                photo = Photo(
                    (waves * scale).astype(dtype),
                    None,
                    False,
                    name,
                    icc=ADOBE_RGB,
                    exif=exif,
                    xmp=b'<x tiff:Orientation="6"/>',
                    iptc=b"\x1c\x02\x78\0\x03abc",
                    dpi=(300.0, 300.0),
                )
                path = Path(folder, f"{name}_{scale}{format.suffixes[0]}")
                write_photo(photo, path)
                files.append(path.read_bytes())
    return files


def mutated(data: bytes, seed: int) -> bytes:
    """The file with a few bytes changed, cut out, doubled or overwritten."""
    rng = np.random.default_rng(seed)
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        head = rng.random() < 0.3
        at = int(rng.integers(0, min(len(changed), 400) if head else len(changed)))
        length = int(rng.integers(1, 64))
        match rng.integers(0, 5):
            case 0:
                changed[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                changed[at : at + length] = b""
            case 2:
                changed[at:at] = changed[at : at + length]
            case 3:
                mark = MARKERS[int(rng.integers(0, len(MARKERS)))]
                changed[at : at + len(mark)] = mark
            case _:
                changed[at : at + length] = rng.bytes(length)
        if len(changed) < 16:
            break
    return bytes(changed[: rng.integers(1, len(changed))] if rng.random() < 0.1 else changed)


def outcome(data: bytes) -> str:
    """`"read"` or `"refused"`; what else was raised in other words."""
    try:
        photo = read_photo(io.BytesIO(data), "it")
        photo.with_rendered(photo.srgb)
    except ImageError as error:
        return "refused" if "\n" not in str(error) else f"several lines: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "read"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first file")
    parser.add_argument("--seconds", type=float, default=900.0, help="stop after this time")
    options = parser.parse_args()
    files = originals()
    outcomes: Counter[str] = Counter()
    slowest, slowest_seed = 0.0, 0
    begin = time.monotonic()
    for seed in range(options.first, options.first + options.count):
        if time.monotonic() - begin > options.seconds:
            break
        start = time.monotonic()
        result = outcome(mutated(files[seed % len(files)], seed))
        took = time.monotonic() - start
        outcomes[result] += 1
        if result not in ("read", "refused"):
            print(f"seed {seed}: {result}")
        if took > slowest:
            slowest, slowest_seed = took, seed
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    read, refused = outcomes.pop("read", 0), outcomes.pop("refused", 0)
    print(f"{read} read, {refused} refused, {sum(outcomes.values())} failed")
    print(f"slowest {slowest:.2f} s (seed {slowest_seed}), peak {peak / 2**30:.2f} GB")
    return int(bool(outcomes) or slowest > MOST_SECONDS or peak > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
