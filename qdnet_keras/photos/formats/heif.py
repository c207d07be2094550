"""HEIF with HEVC (HEIC): read and written by pillow-heif."""

import dataclasses
import io
from typing import Any, BinaryIO

import numpy as np
import pillow_heif

from qdnet_keras.errors import ImageError
from qdnet_keras.photos import colour
from qdnet_keras.photos.formats.upright import Decoded
from qdnet_keras.photos.photo import Photo, check_size
from qdnet_keras.photos.pixels import file_samples, split_alpha

_GAIN_MAP = "hdrgainmap"


def decode_heif(data: bytes) -> Photo:
    pictures = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    image = pictures[pictures.primary_index]
    check_size(*image.size)
    info: dict[str, Any] = dict(image.info)
    if image.premultiplied_alpha:
        raise ImageError("has its alpha multiplied into its colours; save it with straight alpha")
    samples = np.asarray(image)
    found = Decoded("HEIF", *split_alpha(samples), is_turned=True)
    found.icc, found.exif, found.xmp = (info.get(key) for key in ("icc_profile", "exif", "xmp"))
    described = info.get("nclx_profile")
    if described and not found.icc:
        found.icc = colour.cicp_profile(
            described["color_primaries"], described["transfer_characteristics"]
        )
    found.notes = [*_left_out(info, len(pictures))]
    return found.photo()


def _left_out(info: dict, count: int) -> list[str]:
    notes = []
    if any(_GAIN_MAP in name.lower() for name in info.get("aux", {})):
        notes.append("the gain map of its HDR rendering was left out")
    if info.get("depth_images"):
        notes.append("its depth map was left out")
    if count > 1:
        notes.append("further pictures in the file were left out")
    return notes


def encode_heif(photo: Photo, file: BinaryIO) -> None:
    if photo.alpha is not None:
        photo = dataclasses.replace(photo, grey=False)  # pillow-heif writes no grey with alpha
    samples = file_samples(photo)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[1 if samples.ndim == 2 else samples.shape[2]]
    mode += ";16" if photo.depth == 16 else ""
    size = samples.shape[1::-1]
    picture = pillow_heif.from_bytes(mode, size, samples.tobytes())
    kept = {"icc_profile": photo.icc, "exif": photo.exif, "xmp": photo.xmp}
    picture.info.update({name: value for name, value in kept.items() if value})
    picture.save(file, quality=95, chroma=444)
