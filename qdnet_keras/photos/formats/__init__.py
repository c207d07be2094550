"""The file formats of photographs: PNG, JPEG, TIFF and WebP bytes to `Photo` and back.

PNG, TIFF and WebP are decoded straight to arrays at their full depth; JPEG by Pillow, which refuses
files that are cut short. Metadata is carried as raw bytes, so nothing in it is re-interpreted.
Messages of the errors raised here lack the file's name: `images.py` puts it in front.
"""

from qdnet_keras.photos.formats.photo import MAX_PIXELS, MIN_SIDE, Photo
from qdnet_keras.photos.formats.registry import decode, encode

__all__ = ["MAX_PIXELS", "MIN_SIDE", "Photo", "decode", "encode"]
