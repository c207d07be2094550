"""The file formats of photographs: PNG, JPEG, TIFF and WebP bytes to `Photo` and back.

PNG, TIFF and WebP are decoded straight to arrays at their full depth; JPEG by Pillow, which refuses
files that are cut short. Metadata is carried as raw bytes, so nothing in it is re-interpreted.
Messages of the errors raised here lack the file's name: `images.py` puts it in front.
"""

import contextlib
import dataclasses
import io
import logging
import math
import mmap
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Collection, Iterator
from typing import Any, BinaryIO, Literal

import imagecodecs
import numpy as np
import tifffile
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from qdnet_keras.errors import ImageError

MIN_SIDE = 32
MAX_PIXELS = 400_000_000

# Photos with damaged metadata are read all the same: the libraries need not tell the user.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
    """A photograph with the metadata of its file.

    `pixels` are RGB in the encoding of `icc`, or sRGB where it is None; a photo from a grey file
    has three equal channels and is written with one (luma, Rec. 601).
    """

    pixels: np.ndarray  # uint8 or uint16, [H, W, 3], upright
    alpha: np.ndarray | None  # [H, W], same dtype, not multiplied into the pixels
    grey: bool
    format: str  # "PNG" | "JPEG" | "TIFF" | "WEBP"
    icc: bytes | None = None
    exif: bytes | None = None  # TIFF-structured, without the "Exif" prefix; orientation is 1
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None  # horizontal, vertical
    compression: str | None = None  # TIFF: tifffile's name; WebP: "lossless" or None
    extra: bytes = b""  # PNG chunks or JPEG segments kept as they are (text, IPTC, comments)
    turned: bool = False  # the file holds the pixels in another orientation

    @property
    def depth(self) -> int:
        """Bits per channel: 8 or 16."""
        return 8 * self.pixels.itemsize


def decode(data: bytes) -> Photo:
    """The photograph in `data`, its kind told by content.

    Raises ImageError for another kind or a forbidden size; damaged data raise what the codec does.
    """
    if not data:
        raise ImageError("is empty")
    if data.startswith((b"v/1\x01", b"#?RADIANCE", b"#?RGBE", b"PF\n", b"Pf\n")):
        raise ImageError("is a floating point image; tone-map it first")
    for signature, decoder in _DECODERS:
        if re.match(signature, data, re.DOTALL):
            return decoder(data)
    raise ImageError("is not a PNG, JPEG, TIFF or WebP picture")


def encode(photo: Photo, format: str, file: BinaryIO) -> None:
    """Writes `photo` to an empty file opened for update; JPEG and WebP round to 8 bits."""
    if format != photo.format:
        photo = dataclasses.replace(photo, compression=None, extra=b"")
    if format in ("JPEG", "WEBP") and photo.depth == 16:
        alpha = None if photo.alpha is None else _to_8_bit(photo.alpha)
        photo = dataclasses.replace(photo, pixels=_to_8_bit(photo.pixels), alpha=alpha)
    _ENCODERS[format](photo, file)


def _photo(
    format: str,
    colour: np.ndarray,
    alpha: np.ndarray | None,
    *,
    exif: bytes | None = None,
    xmp: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    **kept: Any,
) -> Photo:
    """Turns decoded samples (`colour` [H, W] or [H, W, 3]) upright and resets the orientation."""
    orientation, exif = _reset_orientation((exif or b"").removeprefix(b"Exif\0\0"))
    xmp_orientation = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>))([1-8])")
    if xmp and (found := xmp_orientation.search(xmp)):
        orientation = orientation or int(found[2])
        xmp = xmp_orientation.sub(rb"\g<1>1", xmp)
    turn = _UPRIGHT[orientation or 1]
    if dpi and not all(1 <= dots < 65536 for dots in dpi):
        dpi = None
    if dpi and orientation > 4:
        dpi = dpi[1], dpi[0]
    grey = colour.ndim == 2
    pixels = np.repeat(turn(colour)[..., None], 3, axis=2) if grey else turn(colour)
    if alpha is not None:
        alpha = np.ascontiguousarray(turn(alpha))
    return Photo(
        np.ascontiguousarray(pixels),
        alpha,
        grey,
        format,
        exif=exif or None,
        xmp=xmp,
        dpi=dpi,
        turned=(orientation or 1) != 1,
        **kept,
    )


def _samples(photo: Photo) -> np.ndarray:
    """What a file holds: [H, W] for grey, else [H, W, C] with the alpha channel last."""
    colour = photo.pixels
    if photo.grey:
        luma = np.full(colour.shape[:2], 32768, np.uint32)
        for channel, weight in enumerate((19595, 38470, 7471)):
            luma += np.multiply(colour[..., channel], weight, dtype=np.uint32)
        colour = (luma >> 16).astype(colour.dtype)
    if photo.alpha is not None:
        colour = np.dstack([colour, photo.alpha])
    return np.ascontiguousarray(colour)


def _split(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Colour and alpha of [H, W] or [H, W, 2 | 3 | 4] samples."""
    if samples.ndim == 2 or samples.shape[2] == 3:
        return samples, None
    colour = samples[..., 0] if samples.shape[2] == 2 else samples[..., :3]
    return colour, samples[..., -1]


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"is {width} x {height} pixels; both sides must be at least {MIN_SIDE}")
    if width * height > MAX_PIXELS:
        limit = MAX_PIXELS // 1_000_000
        raise ImageError(f"is {width} x {height} pixels; at most {limit} megapixels are supported")


def _bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of rows, about a megapixel each, that cover a picture of this shape."""
    rows = max(1, 1_000_000 // shape[1])
    for top in range(0, shape[0], rows):
        yield slice(top, min(top + rows, shape[0]))


def _to_8_bit(samples: np.ndarray) -> np.ndarray:
    """uint16 / 257 rounded to nearest."""
    scaled = samples >> 1  # (x - (x + 128) / 256 + 128) / 256 in 16 bits, exact for all x
    scaled += 64
    scaled >>= 7
    np.subtract(samples, scaled, out=scaled)
    scaled += 128
    scaled >>= 8
    return scaled.astype(np.uint8)


def _cmyk_to_srgb(cmyk: np.ndarray, icc: bytes | None) -> np.ndarray:
    """[H, W, 4] inks to RGB: perceptual intent of the profile, or (1 - ink)(1 - black) without."""
    if icc:
        with contextlib.suppress(imagecodecs.CmsError):
            srgb = imagecodecs.cms_profile("srgb")
            return imagecodecs.cms_transform(
                cmyk, icc, srgb, colorspace="cmyk", outcolorspace="rgb", intent=0
            )
    top = np.uint32(np.iinfo(cmyk.dtype).max)
    rgb = np.empty((*cmyk.shape[:2], 3), cmyk.dtype)
    for rows in _bands(cmyk.shape):
        bare = top - cmyk[rows].astype(np.uint32)
        rgb[rows] = (bare[..., :3] * bare[..., 3:] + top // 2) // top
    return rgb


def _divide_by_alpha(colour: np.ndarray, alpha: np.ndarray) -> None:
    """Undoes, in place, the multiplication of TIFF's associated alpha."""
    top = np.uint32(np.iinfo(colour.dtype).max)
    for rows in _bands(colour.shape):
        opacity = np.maximum(alpha[rows], 1).astype(np.uint32)
        opacity = opacity.reshape(opacity.shape + (1,) * (colour.ndim - 2))
        scaled = np.multiply(colour[rows], top, dtype=np.uint32) + opacity // 2
        colour[rows] = np.minimum(scaled // opacity, top)


# Orientation (EXIF tag 274) -> view that shows the picture upright.
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


# --- EXIF and TIFF directories ------------------------------------------------------------------

_ORDERS: dict[bytes, Literal["<", ">"]] = {b"II": "<", b"MM": ">"}
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TYPE_BYTES |= {13: 4, 129: 1}  # directory, UTF-8
_EXIF, _GPS, _INTEROP = 34665, 34853, 40965
_NESTED = {0: {_EXIF, _GPS}, _EXIF: {_INTEROP}}  # directory -> tags that point to directories
# Tags of a TIFF's first directory that describe the photo rather than how its pixels are stored.
_DESCRIPTIVE = frozenset(
    {269, 270, 271, 272, 274, 285, 305, 306, 315, 316, 18246, 18249, 33432, 33723, _EXIF, _GPS}
    | set(range(40091, 40096))
)


def _entries(data: Any, order: str, at: int) -> dict[int, tuple[int, int, int, bytes]]:
    """Entries of the directory at `at`: tag -> (offset of the entry, type, count, value field)."""
    (count,) = struct.unpack_from(order + "H", data, at)
    found = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, number, field = struct.unpack_from(order + "HHI4s", data, entry)
        found[tag] = entry, kind, number, field
    return found


def _reset_orientation(exif: bytes) -> tuple[int, bytes]:
    """Orientation that an EXIF block asks for (0: none), and the block with it set to 1."""
    try:
        order = _ORDERS[exif[:2]]
        entries = _entries(exif, order, *struct.unpack_from(order + "I", exif, 4))
        entry, kind, _, _ = entries[274]
        layout = order + {3: "H", 4: "I"}[kind]
        (orientation,) = struct.unpack_from(layout, exif, entry + 8)
        changed = bytearray(exif)
        struct.pack_into(layout, changed, entry + 8, 1)
    except (KeyError, struct.error):
        return 0, exif
    return orientation if orientation in _UPRIGHT else 0, bytes(changed)


def _merge_directories(
    order: str, to: int, *parts: tuple[Any, int, Collection[int] | None], parent: int = 0
) -> bytes:
    """Bytes, to be placed at offset `to`, of one directory made of several.

    Each part is (data, offset of the directory in it, tags to take or None for all); values and
    the directories that EXIF nests come along.
    """
    taken = {}
    for data, at, tags in parts:
        for tag, (_, kind, count, field) in _entries(data, order, at).items():
            if (tags is None or tag in tags) and kind in _TYPE_BYTES:
                taken[tag] = data, kind, count, field
    body_at = to + 2 + 12 * len(taken) + 4
    head, body = struct.pack(order + "H", len(taken)), b""
    for tag, (data, kind, count, field) in sorted(taken.items(), key=lambda item: item[0]):
        size = count * _TYPE_BYTES[kind]
        (start,) = struct.unpack(order + "I", field)
        nested = tag in _NESTED.get(parent, ())
        if nested or size > 4:
            field = struct.pack(order + "I", body_at + len(body))
        head += struct.pack(order + "HHI4s", tag, kind, count, field)
        if nested:
            where = body_at + len(body)
            body += _merge_directories(order, where, (data, start, None), parent=tag)
        elif size > 4:
            body += data[start : start + size] + b"\0" * (size % 2)
    return head + b"\0\0\0\0" + body


# --- PNG ----------------------------------------------------------------------------------------

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_DECODED = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_PNG_KEPT = {b"gAMA", b"cHRM", b"sRGB", b"cICP", b"tEXt", b"zTXt", b"iTXt"}
_PNG_XMP = b"XML:com.adobe.xmp\0"
_INCH = 0.0254


def _decode_png(data: bytes) -> Photo:
    width, height = struct.unpack_from(">II", data, 16)
    _check_size(width, height)
    decoded: list[bytes | memoryview] = [_PNG_SIGNATURE]
    kept: dict[str, Any] = {"extra": b""}
    for kind, chunk in _png_chunks(data):
        body = chunk[8:-4]
        if kind == b"acTL":
            raise ImageError("is an animated PNG; only still pictures are supported")
        if kind in _PNG_DECODED:
            decoded.append(chunk)
        elif kind == b"iCCP":
            kept["icc"] = _inflate(bytes(body).partition(b"\0")[2][1:])
        elif kind == b"eXIf":
            kept["exif"] = bytes(body)
        elif kind == b"pHYs" and len(body) == 9 and body[8] == 1:
            x, y = struct.unpack_from(">II", body)
            kept["dpi"] = (x * _INCH, y * _INCH)
        elif kind == b"iTXt" and bytes(body).startswith(_PNG_XMP):
            packed, text = body[len(_PNG_XMP)], bytes(body[len(_PNG_XMP) + 2 :]).split(b"\0", 2)[2]
            kept["xmp"] = _inflate(text) if packed else text
        elif kind in _PNG_KEPT:
            kept["extra"] += bytes(chunk)
    # Only what pixels need is decoded: libpng prints warnings about profiles it dislikes.
    colour, alpha = _split(imagecodecs.png_decode(b"".join(decoded)))
    return _photo("PNG", colour, alpha, **kept)


def _encode_png(photo: Photo, file: BinaryIO) -> None:
    encoded = memoryview(imagecodecs.png_encode(_samples(photo), level=3))
    after_header = len(_PNG_SIGNATURE) + 25
    file.write(encoded[:after_header])
    if photo.icc:
        file.write(_png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(photo.icc)))
    if photo.dpi:
        x, y = (round(dots / _INCH) for dots in photo.dpi)
        file.write(_png_chunk(b"pHYs", struct.pack(">IIB", x, y, 1)))
    if photo.exif:
        file.write(_png_chunk(b"eXIf", photo.exif))
    if photo.xmp:
        file.write(_png_chunk(b"iTXt", _PNG_XMP + b"\0\0\0\0" + photo.xmp))
    file.write(photo.extra)
    file.write(encoded[after_header:])


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    view, at = memoryview(data), len(_PNG_SIGNATURE)
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind, view[at : at + 12 + size]
        at += 12 + size


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _inflate(packed: bytes) -> bytes | None:
    """At most 64 MB of zlib data; None where they are damaged."""
    try:
        return zlib.decompressobj().decompress(packed, 1 << 26)
    except zlib.error:
        return None


# --- TIFF ---------------------------------------------------------------------------------------

_TIFF_KEPT = {"none", "lzw", "adobe_deflate", "packbits", "zstd"}
_TIFF_COLOURS = {"MINISBLACK": 1, "MINISWHITE": 1, "PALETTE": 1, "RGB": 3, "SEPARATED": 4}
_THUMBNAIL, _MASK = 1, 4  # bits of tag 254
_ICC, _XMP = 34675, 700


def _decode_tiff(data: bytes) -> Photo:
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page: Any = tiff.pages.first
        _check_tiff(tiff, page)
        icc, xmp = (
            data[tag.valueoffset : tag.valueoffset + tag.valuebytecount] if tag else None
            for tag in map(page.tags.get, (_ICC, _XMP))
        )
        colour, alpha = _tiff_samples(page, icc)
        return _photo(
            "TIFF",
            colour,
            alpha,
            exif=_tiff_exif(data, tiff.byteorder, page),
            icc=None if page.photometric.name == "SEPARATED" else icc,
            xmp=xmp,
            dpi=_tiff_dpi(page),
            compression=page.compression.name.lower(),
        )


def _check_tiff(tiff: tifffile.TiffFile, page: Any) -> None:
    kind, bits = page.photometric.name, page.bitspersample
    if page.subfiletype & _THUMBNAIL or 50706 in page.tags:
        raise ImageError("is a camera's raw file; develop it first")
    if page.sampleformat == 3 or kind in ("LOGL", "LOGLUV"):
        raise ImageError("is a floating point image; tone-map it first")
    others: Any = tiff.pages[1:]
    if any(not other.subfiletype & (_THUMBNAIL | _MASK) for other in others):
        raise ImageError("holds several pages; save the one you mean as a file of its own")
    _check_size(page.imagewidth, page.imagelength)
    if len(page.dataoffsets) < math.prod(page.chunked) or 0 in page.databytecounts:
        raise ImageError("lacks a part of its pixels; copy it again")
    jpeg = kind == "YCBCR" and "JPEG" in page.compression.name
    known = page.sampleformat in (1, 4) and bits in (1, 2, 4, 8, 16)
    channels = page.samplesperpixel - (3 if jpeg else _TIFF_COLOURS.get(kind, 0))
    if not (jpeg or kind in _TIFF_COLOURS) or not known or channels not in (0, 1):
        raise ImageError(
            f"is a TIFF of kind {kind}, {page.samplesperpixel} channels, {bits} bits; "
            "save it as grey or RGB of 8 or 16 bits"
        )


def _tiff_samples(page: Any, icc: bytes | None) -> tuple[np.ndarray, np.ndarray | None]:
    kind, bits = page.photometric.name, page.bitspersample
    samples = page.asarray(buffersize=1 << 24)
    if page.axes.startswith("S"):
        samples = np.moveaxis(samples, 0, -1)
    if bits < 8 and kind != "PALETTE":
        samples = samples.astype(np.uint8) * np.uint8(255 // (2**bits - 1))
    channels = _TIFF_COLOURS.get(kind, 3)  # tifffile turns YCbCr into RGB
    colour, alpha = samples, None
    if page.samplesperpixel > channels:
        colour, alpha = samples[..., :channels], samples[..., -1]
        colour = colour[..., 0] if channels == 1 else colour
    if kind == "PALETTE":
        colour = (page.colormap.T >> 8).astype(np.uint8)[colour.astype(np.uint16)]
    elif kind == "MINISWHITE":
        colour = ~colour
    elif kind == "SEPARATED":
        colour = _cmyk_to_srgb(np.ascontiguousarray(colour), icc)
    if alpha is not None and page.extrasamples == (1,):
        _divide_by_alpha(colour, alpha)
    return colour, alpha


def _tiff_dpi(page: Any) -> tuple[float, float] | None:
    per_inch: Any = {2: 1.0, 3: 2.54}.get(page.tags.valueof(296, default=2))
    with contextlib.suppress(TypeError, ValueError, ZeroDivisionError):
        (x, per_x), (y, per_y) = (page.tags.valueof(tag) for tag in (282, 283))
        return x / per_x * per_inch, y / per_y * per_inch
    return None


def _tiff_exif(data: bytes, order: str, page: Any) -> bytes | None:
    """The descriptive tags of the first directory as an EXIF block; damaged nested ones dropped."""
    head = data[:4] + struct.pack(order + "I", 8)
    for tags in (_DESCRIPTIVE, _DESCRIPTIVE - {_EXIF, _GPS}):
        if tags.isdisjoint(page.tags.keys()):
            break
        with contextlib.suppress(struct.error):
            return head + _merge_directories(order, 8, (data, page.offset, tags))
    return None


def _encode_tiff(photo: Photo, file: BinaryIO) -> None:
    compression = photo.compression if photo.compression in _TIFF_KEPT else "adobe_deflate"
    exif = photo.exif or b""
    order = _ORDERS.get(exif[:2], "<")
    with tifffile.TiffWriter(file, bigtiff=False, byteorder=order) as tiff:
        tiff.write(
            _samples(photo),
            photometric="minisblack" if photo.grey else "rgb",
            planarconfig="contig",
            extrasamples=None if photo.alpha is None else ["unassalpha"],
            compression=compression,
            predictor=compression not in ("none", "packbits"),
            rowsperstrip=64,
            resolution=photo.dpi,
            resolutionunit=2 if photo.dpi else None,
            iccprofile=photo.icc,
            extratags=[(_XMP, 1, len(photo.xmp), photo.xmp, True)] if photo.xmp else (),
            metadata=None,
            software=False,
        )
    with contextlib.suppress(KeyError, struct.error):
        _add_exif(file, exif)


def _add_exif(file: BinaryIO, exif: bytes) -> None:
    """Appends to a TIFF a directory that is its own plus the descriptive tags of `exif`."""
    order = _ORDERS[exif[:2]]
    file.flush()
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        end = len(data) + len(data) % 2
        own, others = (
            struct.unpack_from(order + "I", data, 4),
            struct.unpack_from(order + "I", exif, 4),
        )
        merged = _merge_directories(order, end, (exif, *others, _DESCRIPTIVE), (data, *own, None))
    file.seek(end)
    file.write(merged)
    file.seek(4)
    file.write(struct.pack(order + "I", end))


# --- JPEG and WebP ------------------------------------------------------------------------------

_JPEG_KEPT = {"APP13": b"\xff\xed", "COM": b"\xff\xfe"}


def _decode_jpeg(data: bytes) -> Photo:
    image = JpegImageFile(io.BytesIO(data))
    pixels = _jpeg_pixels(image)
    icc = image.info.get("icc_profile")
    if image.mode == "CMYK":
        pixels, icc = _cmyk_to_srgb(pixels, icc), None
    extra = b"".join(
        _JPEG_KEPT[name] + struct.pack(">H", len(body) + 2) + body
        for name, body in image.applist
        if name in _JPEG_KEPT
    )
    info = image.info
    kept = {"exif": info.get("exif"), "xmp": info.get("xmp"), "dpi": info.get("dpi")}
    return _photo("JPEG", pixels, None, icc=icc, extra=extra, **kept)


def _decode_webp(data: bytes) -> Photo:
    chunks = dict(_webp_chunks(data))
    if b"ANIM" in chunks:
        raise ImageError("is an animated WebP; only still pictures are supported")
    samples = imagecodecs.webp_decode(data)
    _check_size(samples.shape[1], samples.shape[0])
    colour, alpha = _split(samples)
    return _photo(
        "WEBP",
        colour,
        alpha,
        exif=chunks.get(b"EXIF"),
        icc=chunks.get(b"ICCP"),
        xmp=chunks.get(b"XMP "),
        compression="lossless" if b"VP8L" in chunks else None,
    )


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        yield kind, data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _jpeg_pixels(image: JpegImageFile) -> np.ndarray:
    """Samples of a picture that is not decoded yet, copied band by band to save memory."""
    _check_size(*image.size)
    bands = len(image.getbands())
    samples = np.empty(image.size[::-1] + ((bands,) if bands > 1 else ()), np.uint8)
    for rows in _bands(samples.shape):
        samples[rows] = np.asarray(image.crop((0, rows.start, image.width, rows.stop)))
    return samples


def _encode_jpeg(photo: Photo, file: BinaryIO) -> None:
    kept = {"icc_profile": photo.icc, "xmp": photo.xmp, "dpi": photo.dpi, "extra": photo.extra}
    if photo.exif:
        kept["exif"] = b"Exif\0\0" + photo.exif
    kept = {name: value for name, value in kept.items() if value}
    buffer = io.BytesIO()  # given a real file, Pillow takes no notice of a full disk
    Image.fromarray(_samples(photo)).save(buffer, "JPEG", quality=95, subsampling=0, **kept)
    file.write(buffer.getbuffer())


def _encode_webp(photo: Photo, file: BinaryIO) -> None:
    """A grey photo becomes RGB, without its grey profile: WebP has no grey."""
    icc = None if photo.icc and photo.icc[16:20] == b"GRAY" else photo.icc
    kept = {"icc_profile": icc, "exif": photo.exif, "xmp": photo.xmp}
    kept = {name: value for name, value in kept.items() if value}
    lossless = photo.compression == "lossless"
    samples = _samples(dataclasses.replace(photo, grey=False))
    image = Image.fromarray(samples)
    image.save(file, "WEBP", quality=95, lossless=lossless, exact=lossless, **kept)


_DECODERS: list[tuple[bytes, Callable[[bytes], Photo]]] = [
    (rb"\x89PNG\r\n\x1a\n", _decode_png),
    (rb"\xff\xd8\xff", _decode_jpeg),
    (rb"II[*+]\0|MM\0[*+]", _decode_tiff),
    (rb"RIFF....WEBP", _decode_webp),
]
_ENCODERS: dict[str, Callable[[Photo, BinaryIO], None]] = {
    "PNG": _encode_png,
    "JPEG": _encode_jpeg,
    "TIFF": _encode_tiff,
    "WEBP": _encode_webp,
}
