"""Photographs for tests: files are written, or read back, by a library that does not make them."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageCms

from qdnet_keras.photos.files import Photo, read_photo, write_photo

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ORIENTATION = 274
RGB_OF_BGR = {3: [2, 1, 0], 4: [2, 1, 0, 3]}
KINDS = [("png", 8), ("png", 16), ("tif", 8), ("tif", 16), ("webp", 8), ("jpg", 8)]


def noise(height: int, width: int, channels: int, depth: int, seed: int = 0) -> np.ndarray:
    """Random samples [height, width(, channels)]."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    dtype = np.uint8 if depth == 8 else np.uint16
    return np.random.default_rng(seed).integers(0, 2**depth, shape, dtype)


def photo_of(samples: np.ndarray, format: str = "PNG", **fields: Any) -> Photo:
    grey = samples.ndim == 2 or samples.shape[2] == 2
    colour = samples.reshape(*samples.shape[:2], -1)[..., : 1 if grey else 3]
    alpha = samples[..., -1] if samples.ndim == 3 and samples.shape[2] in (2, 4) else None
    return Photo(np.broadcast_to(colour, (*samples.shape[:2], 3)), alpha, grey, format, **fields)


def samples_of(photo: Photo) -> np.ndarray:
    """What a file of this photo should hold: [H, W], or [H, W, C] with alpha last."""
    colour = photo.pixels[..., 0] if photo.grey else photo.pixels
    return colour if photo.alpha is None else np.dstack([colour, photo.alpha])


def independent_read(path: Path) -> np.ndarray:
    """8 bit through Pillow; 16 bit RGB through OpenCV, which is not used by the package."""
    stored: Any = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored.dtype == np.uint16:
        return stored if stored.ndim == 2 else stored[..., RGB_OF_BGR[stored.shape[2]]]
    with opened(path) as image:
        return np.asarray(image)


def independent_write(path: Path, samples: np.ndarray) -> None:
    if samples.dtype == np.uint8:
        Image.fromarray(samples).save(path)
    else:
        bgr = samples if samples.ndim == 2 else samples[..., RGB_OF_BGR[samples.shape[2]]]
        assert cv2.imwrite(str(path), bgr)


def opened(path: Path) -> Any:
    """A Pillow image, whose attributes depend on its format."""
    return Image.open(path)


def same_format(photo: Photo, path: Path) -> Photo:
    """Writes a photo and reads it again."""
    write_photo(photo, path)
    return read_photo(path)


def encoded(format: str, samples: np.ndarray | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise(64, 64, 3, 8) if samples is None else samples).save(
        buffer, format, **options
    )
    return buffer.getvalue()


def png(header: bytes, packed: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    parts = [(b"IHDR", header), *chunks, (b"IDAT", packed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def tiff(samples: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **options)
    return buffer.getvalue()


def tiff_with(samples: np.ndarray, values: dict[int, Any]) -> bytes:
    """A TIFF in strips of 8 rows, some of whose tags are then overwritten."""
    buffer = io.BytesIO(tiff(samples, photometric="rgb", rowsperstrip=8))
    with tifffile.TiffFile(buffer, mode="r+") as stored:
        for tag, value in values.items():
            stored.pages.first.tags[tag].overwrite(value)
        return buffer.getvalue()


def files_of_other_kinds(folder: Path) -> dict[str, Path]:
    """Files of every kind that is not an upright 8-bit PNG or JPEG in RGB or grey."""
    samples = np.random.default_rng(0).integers(0, 256, (48, 40, 4), np.uint8)
    rgb, rgba = Image.fromarray(samples[..., :3]), Image.fromarray(samples)
    turned = Image.Exif()
    turned[ORIENTATION] = 6
    names = (
        *("a.tif", "a.webp", "deep.png", "turned.jpg", "turned.png"),
        *("alpha.png", "alpha.tif", "cmyk.jpg", "palette.png", "bits.png"),
    )
    files = {name: folder / name for name in names}
    rgb.save(files["a.tif"])
    rgba.save(files["a.webp"], lossless=True)
    tifffile.imwrite(files["alpha.tif"], samples, photometric="rgb", extrasamples=["unassalpha"])
    deep = samples[..., :3].astype(np.uint16) * 200 + 77
    files["deep.png"].write_bytes(imagecodecs.png_encode(deep))
    rgb.save(files["turned.jpg"], exif=turned)
    rgb.save(files["turned.png"], exif=turned)
    rgba.save(files["alpha.png"], icc_profile=SRGB)
    rgb.convert("CMYK").save(files["cmyk.jpg"])
    rgb.quantize(16).save(files["palette.png"], bits=4)
    rgb.convert("1").save(files["bits.png"])
    return files
