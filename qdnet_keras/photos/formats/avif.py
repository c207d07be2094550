"""AVIF: metadata and encoding by Pillow, pixels at their full depth by imagecodecs."""

import io
import struct
from typing import BinaryIO

import imagecodecs
import numpy as np
from PIL import Image

from qdnet_keras.errors import ImageError
from qdnet_keras.photos import colour
from qdnet_keras.photos.formats.upright import Decoded
from qdnet_keras.photos.photo import Photo, check_size
from qdnet_keras.photos.pixels import file_samples, from_float, split_alpha

_DESCRIBED, _CODEC = b"colrnclx", b"av1C"
_TWELVE_BITS = 0x20  # in the third byte of the codec's configuration


def decode_avif(data: bytes) -> Photo:
    with Image.open(io.BytesIO(data), formats=["AVIF"]) as image:
        check_size(*image.size)
        if getattr(image, "n_frames", 1) > 1:
            raise ImageError("is an animated AVIF; only still pictures are supported")
        info = dict(image.info)
    samples = imagecodecs.avif_decode(data)
    if samples.dtype == np.uint16:
        at = data.find(_CODEC) + len(_CODEC)
        top = 4095 if data[at + 2] & _TWELVE_BITS else 1023
        samples = from_float(samples / np.float32(top), np.uint16)
    found = Decoded("AVIF", *split_alpha(samples))
    found.icc, found.exif, found.xmp = (info.get(key) for key in ("icc_profile", "exif", "xmp"))
    at = data.find(_DESCRIBED)
    if at >= 0 and not found.icc:
        found.icc = colour.cicp_profile(*struct.unpack_from(">HH", data, at + len(_DESCRIBED)))
    return found.photo()


def encode_avif(photo: Photo, file: BinaryIO) -> None:
    kept = {"icc_profile": photo.icc, "exif": photo.exif, "xmp": photo.xmp}
    kept = {name: value for name, value in kept.items() if value}
    image = Image.fromarray(file_samples(photo))
    image.save(file, "AVIF", quality=95, subsampling="4:4:4", **kept)
