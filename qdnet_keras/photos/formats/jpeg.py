"""JPEG: decoded and encoded by Pillow."""

import io
import struct
import warnings
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from qdnet_keras.photos.formats.orientation import upright_photo
from qdnet_keras.photos.formats.photo import Photo, check_size
from qdnet_keras.photos.formats.pixels import cmyk_to_srgb, file_samples, row_bands

_JPEG_KEPT = {"APP13": b"\xff\xed", "COM": b"\xff\xfe"}

# Photos with damaged metadata are read all the same: Pillow need not tell the user.
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")


def decode_jpeg(data: bytes) -> Photo:
    image = JpegImageFile(io.BytesIO(data))
    pixels = _jpeg_pixels(image)
    icc = image.info.get("icc_profile")
    if image.mode == "CMYK":
        pixels, icc = cmyk_to_srgb(pixels, icc), None
    extra = b"".join(
        _JPEG_KEPT[name] + struct.pack(">H", len(body) + 2) + body
        for name, body in image.applist
        if name in _JPEG_KEPT
    )
    info = image.info
    kept = {"exif": info.get("exif"), "xmp": info.get("xmp"), "dpi": info.get("dpi")}
    return upright_photo("JPEG", pixels, None, icc=icc, extra=extra, **kept)


def _jpeg_pixels(image: JpegImageFile) -> np.ndarray:
    """Samples of a picture that is not decoded yet, copied band by band to save memory."""
    check_size(*image.size)
    bands = len(image.getbands())
    samples = np.empty(image.size[::-1] + ((bands,) if bands > 1 else ()), np.uint8)
    for rows in row_bands(samples.shape):
        samples[rows] = np.asarray(image.crop((0, rows.start, image.width, rows.stop)))
    return samples


def encode_jpeg(photo: Photo, file: BinaryIO) -> None:
    kept = {"icc_profile": photo.icc, "xmp": photo.xmp, "dpi": photo.dpi, "extra": photo.extra}
    if photo.exif:
        kept["exif"] = b"Exif\0\0" + photo.exif
    kept = {name: value for name, value in kept.items() if value}
    buffer = io.BytesIO()  # given a real file, Pillow takes no notice of a full disk
    Image.fromarray(file_samples(photo)).save(buffer, "JPEG", quality=95, subsampling=0, **kept)
    file.write(buffer.getbuffer())
