"""PNG: decoded and encoded by imagecodecs, its other chunks read and written here."""

import binascii
import logging
import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import imagecodecs

from qdnet_keras.errors import ImageError
from qdnet_keras.photos import colour
from qdnet_keras.photos.formats.photoshop import iptc_of
from qdnet_keras.photos.formats.upright import Decoded
from qdnet_keras.photos.formats.xmp import JPEG_SEGMENT as XMP_SEGMENT
from qdnet_keras.photos.photo import Photo, check_size
from qdnet_keras.photos.pixels import file_samples, split_alpha

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DECODED = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_COLOURS = {b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"cICP"}
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_XMP = b"XML:com.adobe.xmp\0"
_RAW_PROFILE = b"Raw profile type "  # where ImageMagick and older tools put metadata
_INCH = 0.0254
_SRGB_GAMMA, _SRGB_PRIMARIES = 45455, (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
_MOST_BYTES = 1 << 26  # of a compressed text or profile

# Photos with odd chunks are read all the same: libpng need not tell the user.
logging.getLogger("imagecodecs").addHandler(logging.NullHandler())


def decode_png(data: bytes) -> Photo:
    width, height = struct.unpack_from(">II", data, 16)
    check_size(width, height)
    decoded: list[bytes | memoryview] = [_SIGNATURE]
    colours: dict[bytes, bytes] = {}
    found = Decoded("PNG")
    for kind, chunk in _chunks(data):
        body = bytes(chunk[8:-4]) if kind not in _DECODED else b""
        if kind == b"acTL":
            raise ImageError("is an animated PNG; only still pictures are supported")
        if kind in _DECODED:
            decoded.append(chunk)
        elif kind in _COLOURS:
            colours[kind] = body
        elif kind == b"eXIf":
            found.exif = body
        elif kind == b"pHYs" and len(body) == 9 and body[8] == 1:
            x, y = struct.unpack_from(">II", body)
            found.dpi = (x * _INCH, y * _INCH)
        elif kind in _TEXTS and not _read_text(kind, body, found):
            found.extra += bytes(chunk)
    # Only what pixels need is decoded: libpng prints warnings about profiles it dislikes.
    samples = imagecodecs.png_decode(b"".join(decoded))
    found.colour, found.alpha = split_alpha(samples)
    found.icc = _profile(colours, grey=found.colour.ndim == 2)
    return found.photo()


def encode_png(photo: Photo, file: BinaryIO) -> None:
    encoded = memoryview(imagecodecs.png_encode(file_samples(photo), level=3))
    after_header = len(_SIGNATURE) + 25
    file.write(encoded[:after_header])
    if photo.icc:
        file.write(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(photo.icc)))
    else:
        file.write(_chunk(b"sRGB", b"\0"))
    if photo.dpi:
        x, y = (round(dots / _INCH) for dots in photo.dpi)
        file.write(_chunk(b"pHYs", struct.pack(">IIB", x, y, 1)))
    if photo.exif:
        file.write(_chunk(b"eXIf", photo.exif))
    if photo.xmp:
        file.write(_chunk(b"iTXt", _XMP + b"\0\0\0\0" + photo.xmp))
    if photo.iptc:
        file.write(_chunk(b"zTXt", _raw_profile(b"iptc", photo.iptc)))
    file.write(photo.extra)
    file.write(encoded[after_header:])


def _profile(colours: dict[bytes, bytes], grey: bool) -> bytes | None:
    """What the chunks say of the samples, the ones that prevail first; None for sRGB."""
    if len(cicp := colours.get(b"cICP", b"")) == 4:
        return colour.cicp_profile(cicp[0], cicp[1])
    if b"iCCP" in colours:
        return _inflate(colours[b"iCCP"].partition(b"\0")[2][1:]) or b""
    if b"sRGB" in colours or len(colours.get(b"gAMA", b"")) != 4:
        return None
    (gamma,) = struct.unpack(">I", colours[b"gAMA"])
    chromaticities = _SRGB_PRIMARIES
    if len(colours.get(b"cHRM", b"")) == 32:
        chromaticities = struct.unpack(">8I", colours[b"cHRM"])
    same_primaries = grey or chromaticities == _SRGB_PRIMARIES
    if gamma == 0 or (same_primaries and abs(gamma - _SRGB_GAMMA) <= 5):
        return None  # what writers of sRGB put for readers that know no sRGB
    if grey:
        return colour.grey_profile(1e5 / gamma)
    white, primaries = chromaticities[:2], chromaticities[2:]
    points = [value / 1e5 for value in (*primaries, *white)]
    return colour.primaries_profile(tuple(points), 1e5 / gamma)


def _read_text(kind: bytes, body: bytes, found: Decoded) -> bool:
    """Takes metadata out of a text chunk. False where it holds another text."""
    key, _, rest = body.partition(b"\0")
    if kind == b"iTXt" and key + b"\0" == _XMP:
        flag, *parts = rest[:1], *rest[2:].split(b"\0", 2)
        if len(parts) == 3:
            found.xmp = _inflate(parts[2]) if flag == b"\1" else parts[2]
        if not found.xmp:
            found.notes = (*found.notes, "its XMP is damaged and was left out")
        return True
    if not key.startswith(_RAW_PROFILE) or kind == b"iTXt":
        return False
    profile = _unhexed(_inflate(rest[1:]) if kind == b"zTXt" else rest)
    name = key.removeprefix(_RAW_PROFILE)
    if profile is None or name not in (b"exif", b"APP1", b"iptc", b"xmp"):
        return False
    if name == b"iptc":
        found.iptc = iptc_of(profile) if profile.startswith(b"8BIM") else profile
    elif name == b"xmp" or profile.startswith(XMP_SEGMENT):
        found.xmp = found.xmp or profile.removeprefix(XMP_SEGMENT)
    else:
        found.exif = found.exif or profile
    return True


def _unhexed(text: bytes | None) -> bytes | None:
    """The bytes in a raw profile: its name, its length and hexadecimal digits on lines."""
    match = re.match(rb"\n[^\n]*\n\s*\d+\n([0-9a-fA-F\s]*)\Z", text or b"")
    if not match:
        return None
    try:
        return binascii.unhexlify(match[1].translate(None, b" \t\r\n"))
    except binascii.Error:
        return None


def _raw_profile(name: bytes, profile: bytes) -> bytes:
    digits = binascii.hexlify(profile)
    lines = b"\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    text = b"\n%s\n%8d\n%s\n" % (name, len(profile), lines)
    return _RAW_PROFILE + name + b"\0\0" + zlib.compress(text)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    view, at = memoryview(data), len(_SIGNATURE)
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind, view[at : at + 12 + size]
        at += 12 + size


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _inflate(packed: bytes) -> bytes | None:
    """At most `_MOST_BYTES` of zlib data; None where they are damaged."""
    try:
        return zlib.decompressobj().decompress(packed, _MOST_BYTES)
    except zlib.error:
        return None
