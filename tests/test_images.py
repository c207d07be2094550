"""Photographs: files are written, or read back, by a library that does not make them here."""

import dataclasses
import io
import itertools
import resource
import signal
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from qdnet_keras.errors import ImageError, OutputError
from qdnet_keras.images import (
    MIN_SIDE,
    Photo,
    find_photos,
    from_float,
    read_photo,
    to_float,
    working_copy,
    write_photo,
)

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6" by="\xc3\x98"/></x:xmpmeta>'
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


# --- pixels, depth, alpha, grey -------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("suffix", "depth"), KINDS[:4])
def test_lossless_files_are_read_and_written_exactly(tmp_path, suffix, depth, channels):
    samples = noise(37, 51, channels, depth)
    independent_write(tmp_path / f"in.{suffix}", samples)
    photo = read_photo(tmp_path / f"in.{suffix}")
    assert (photo.depth, photo.grey, photo.pixels.shape) == (depth, channels == 1, (37, 51, 3))
    np.testing.assert_array_equal(samples_of(photo), samples)
    write_photo(photo, tmp_path / f"out.{suffix}")
    stored = independent_read(tmp_path / f"out.{suffix}")
    assert stored.dtype == samples.dtype
    np.testing.assert_array_equal(stored, samples)


@pytest.mark.parametrize(("suffix", "depth"), KINDS[:4])
def test_grey_with_alpha(tmp_path, suffix, depth):
    samples = noise(33, 40, 2, depth)
    path = tmp_path / f"out.{suffix}"
    photo = same_format(photo_of(samples), path)
    assert photo.grey
    np.testing.assert_array_equal(samples_of(photo), samples)
    if suffix == "tif":
        with tifffile.TiffFile(path) as stored:
            assert (stored.pages.first.photometric, stored.pages.first.extrasamples) == (1, (2,))
    else:
        np.testing.assert_array_equal(independent_read(path)[..., [0, -1]], samples)


@pytest.mark.parametrize("channels", [3, 4])
def test_webp_stays_lossless_or_lossy(tmp_path, channels):
    samples = noise(40, 50, channels, 8)
    samples[:8, :8, 3:] = 0  # colours under full transparency survive too
    Image.fromarray(samples).save(tmp_path / "in.webp", lossless=True, exact=True)
    write_photo(read_photo(tmp_path / "in.webp"), tmp_path / "out.webp")
    np.testing.assert_array_equal(independent_read(tmp_path / "out.webp"), samples)

    smooth = cv2.GaussianBlur(samples, (0, 0), 4)
    Image.fromarray(smooth).save(tmp_path / "lossy.webp", quality=90)
    photo = read_photo(tmp_path / "lossy.webp")
    np.testing.assert_array_equal(samples_of(photo), independent_read(tmp_path / "lossy.webp"))
    write_photo(photo, tmp_path / "lossy2.webp")
    assert b"VP8L" not in (tmp_path / "lossy2.webp").read_bytes()[:200]
    again = independent_read(tmp_path / "lossy2.webp")
    assert again.shape == samples.shape
    assert np.abs(again.astype(int) - samples_of(photo)).mean() < 2


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_is_written_at_high_quality_without_subsampling(tmp_path, mode):
    samples = cv2.GaussianBlur(noise(64, 80, 3, 8), (0, 0), 2)
    Image.fromarray(samples).convert(mode).save(tmp_path / "in.jpg", quality=80)
    photo = read_photo(tmp_path / "in.jpg")
    np.testing.assert_array_equal(samples_of(photo), independent_read(tmp_path / "in.jpg"))
    write_photo(photo, tmp_path / "out.jpg")
    with opened(tmp_path / "out.jpg") as image:
        assert image.mode == mode
        assert mode == "L" or {layer[1:3] for layer in image.layer} == {(1, 1)}
        assert np.abs(np.asarray(image).astype(int) - samples_of(photo)).mean() < 1.5


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_16_bit_is_rounded_for_8_bit_formats(tmp_path, suffix):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    eight = np.rint(ramp / 257).astype(np.uint8)
    for name, samples in (("16", ramp), ("8", eight)):
        write_photo(photo_of(samples), tmp_path / f"{name}.{suffix}")
    assert (tmp_path / f"16.{suffix}").read_bytes() == (tmp_path / f"8.{suffix}").read_bytes()


def test_coloured_pixels_of_a_grey_photo_are_written_as_luma(tmp_path):
    pixels = noise(40, 40, 3, 8)
    write_photo(Photo(pixels, None, True, "PNG"), tmp_path / "luma.png")
    expected = np.asarray(Image.fromarray(pixels).convert("L"))
    np.testing.assert_array_equal(independent_read(tmp_path / "luma.png"), expected)


@pytest.mark.parametrize("kind", ["1", "P", "P transparent", "L transparent", "RGB transparent"])
def test_kinds_of_png(tmp_path, kind):
    mode, _, transparent = kind.partition(" ")
    image = Image.fromarray(noise(40, 50, 3, 8)).convert(mode)
    options: dict[str, Any] = {mode: image.getpixel((3, 3)), "P": bytes(range(256))}
    image.save(tmp_path / "in.png", **({"transparency": options[mode]} if transparent else {}))
    photo = read_photo(tmp_path / "in.png")
    assert photo.grey == (mode in "1L")
    with opened(tmp_path / "in.png") as again:
        expected = np.asarray(again.convert("RGBA"))
    np.testing.assert_array_equal(photo.pixels, expected[..., :3])
    if transparent:
        np.testing.assert_array_equal(photo.alpha, expected[..., 3])
        assert photo.alpha is not None
        assert photo.alpha.min() == 0
    else:
        assert photo.alpha is None


LOSSLESS = [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"]


@pytest.mark.parametrize(
    ("mode", "compression"),
    [
        *itertools.product(["1", "P", "L", "RGB", "RGBA"], LOSSLESS),
        *itertools.product(["L", "RGB", "YCbCr"], ["jpeg"]),
        ("1", "group4"),
    ],
)
def test_kinds_of_tiff(tmp_path, mode, compression):
    image = Image.fromarray(cv2.GaussianBlur(noise(64, 72, 4, 8), (0, 0), 3)).convert("RGB")
    image.convert(mode).save(tmp_path / "in.tif", compression=compression)
    photo = read_photo(tmp_path / "in.tif")
    with opened(tmp_path / "in.tif") as again:
        expected = np.asarray(again.convert("RGB"))
    assert np.abs(photo.pixels.astype(int) - expected).max() <= (3 if mode == "YCbCr" else 0)
    write_photo(photo, tmp_path / "out.tif")
    with opened(tmp_path / "out.tif") as again:
        kept = compression if compression in LOSSLESS else "tiff_adobe_deflate"
        assert again.info["compression"] == (kept or "raw")
        np.testing.assert_array_equal(np.asarray(again.convert("RGB")), photo.pixels)


@pytest.mark.parametrize("options", ["planar", "tiles", "big endian", "bigtiff", "white is zero"])
def test_layouts_of_16_bit_tiff(tmp_path, options):
    samples = noise(64, 80, 1 if options == "white is zero" else 3, 16)
    stored = np.moveaxis(samples, -1, 0) if options == "planar" else samples
    written: Any = {
        "planar": {"planarconfig": "separate", "photometric": "rgb"},
        "tiles": {"tile": (32, 48), "compression": "lzw", "photometric": "rgb"},
        "big endian": {"byteorder": ">", "photometric": "rgb"},
        "bigtiff": {"bigtiff": True, "photometric": "rgb"},
        "white is zero": {"photometric": "miniswhite"},
    }[options]
    tifffile.imwrite(tmp_path / "in.tif", stored, **written)
    photo = read_photo(tmp_path / "in.tif")
    expected = 65535 - samples if options == "white is zero" else samples
    np.testing.assert_array_equal(samples_of(photo), expected)
    assert photo.pixels.dtype.isnative
    write_photo(photo, tmp_path / "out.tif")
    np.testing.assert_array_equal(independent_read(tmp_path / "out.tif"), expected)


def test_tiff_alpha_multiplied_into_the_colours_is_divided_out(tmp_path):
    straight = noise(40, 50, 4, 16)
    straight[..., 3] |= 0x4000
    opacity = straight[..., 3:] / 65535
    stored = np.rint(np.dstack([straight[..., :3] * opacity, straight[..., 3]])).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "in.tif", stored, photometric="rgb", extrasamples=["assocalpha"], metadata=None
    )
    photo = read_photo(tmp_path / "in.tif")
    np.testing.assert_array_equal(photo.alpha, straight[..., 3])
    assert np.abs(photo.pixels.astype(int) - straight[..., :3]).max() <= 2


def test_interlaced_16_bit_png(tmp_path):
    samples = noise(40, 45, 3, 16)
    rows = b""
    passes = (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2)  # Adam7
    for y, x, dy, dx in (*passes, (0, 1, 2, 2), (1, 0, 2, 1)):
        rows += b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples[y::dy, x::dx])
    data = png(struct.pack(">IIBBBBB", 45, 40, 16, 2, 0, 0, 1), zlib.compress(rows))
    np.testing.assert_array_equal(read_photo(data).pixels, samples)


def png(header: bytes, packed: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    parts = [(b"IHDR", header), *chunks, (b"IDAT", packed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


# --- CMYK -----------------------------------------------------------------------------------------


def cmyk_profile() -> bytes:
    """A small CMYK to Lab profile: one 16-bit table with two grid points per ink."""
    c, m, y, k = np.array(list(itertools.product((0.0, 1.0), repeat=4))).T
    light = 100 * (1 - 0.45 * c) * (1 - 0.5 * m) * (1 - 0.1 * y) * (1 - 0.9 * k)
    a, b = (70 * m - 35 * c) * (1 - k), (90 * y - 45 * c) * (1 - k)
    lab = np.stack([light * 652.8, (a + 128) * 256, (b + 128) * 256], -1).astype(">u2").tobytes()
    identity = struct.pack(">HH", 0, 65535)
    matrix = struct.pack(">9i", *(65536 * np.eye(3, dtype=int)).ravel())
    table = b"mft2\0\0\0\0\x04\x03\x02\0" + matrix + struct.pack(">HH", 2, 2)
    table += identity * 4 + lab + identity * 3
    head = bytearray(128)
    struct.pack_into(">I", head, 0, 144 + len(table))
    head[8:24] = b"\x02\x40\0\0prtrCMYKLab "
    head[36:40] = b"acsp"
    struct.pack_into(">3i", head, 68, 63190, 65536, 54061)
    return bytes(head) + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
@pytest.mark.parametrize("profile", [cmyk_profile(), None, SRGB, b"not a profile"])
def test_cmyk_becomes_srgb(tmp_path, suffix, profile):
    inks = cv2.GaussianBlur(noise(48, 56, 4, 8), (0, 0), 2)
    image = Image.fromarray(inks, "CMYK")
    image.save(tmp_path / f"in.{suffix}", icc_profile=profile, quality=95)
    with opened(tmp_path / f"in.{suffix}") as stored:
        expected: Any = stored.convert("RGB")
        if profile == cmyk_profile():
            expected = ImageCms.profileToProfile(
                stored, io.BytesIO(profile), io.BytesIO(SRGB), outputMode="RGB"
            )
    photo = read_photo(tmp_path / f"in.{suffix}")
    assert np.abs(photo.pixels.astype(int) - np.asarray(expected)).max() <= 1
    write_photo(photo, tmp_path / f"out.{suffix}")
    with opened(tmp_path / f"out.{suffix}") as written:
        assert (written.mode, written.info.get("icc_profile")) == ("RGB", None)


@pytest.mark.parametrize("profile", [cmyk_profile(), None])
def test_16_bit_cmyk_agrees_with_8_bit(tmp_path, profile):
    inks = noise(40, 50, 4, 8)
    for name, samples in (("8", inks), ("16", inks * np.uint16(257))):
        tifffile.imwrite(
            tmp_path / f"{name}.tif", samples, photometric="separated", iccprofile=profile
        )
    eight, sixteen = (read_photo(tmp_path / f"{name}.tif") for name in ("8", "16"))
    assert (eight.depth, sixteen.depth) == (8, 16)
    assert np.abs(sixteen.pixels / 257 - eight.pixels).max() <= 1


# --- metadata -------------------------------------------------------------------------------------


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x0132] = "Maker", orientation, "2024:01:02 03:04:05"
    exif.get_ifd(0x8769).update({0x829A: 0.008, 0x9286: b"ASCII\0\0\0a note", 0x9003: "2024"})
    exif.get_ifd(0x8825).update({1: "N", 2: (59.0, 55.0, 1.5)})
    return exif


def tags_of(exif: Image.Exif) -> ImageFileDirectory_v2:
    """The same as the directory of a TIFF file."""
    tags = ImageFileDirectory_v2()
    for tag, value in exif.items():
        tags[tag] = value
    for tag in (0x8769, 0x8825):
        tags[tag] = exif.get_ifd(tag)
    return tags


def assert_exif_kept(path: Path) -> None:
    with opened(path) as image:
        exif = image.getexif()
        assert exif.get(0x0112, 1) == 1
        assert (exif[0x010F], exif[0x0132]) == ("Maker", "2024:01:02 03:04:05")
        assert float(exif.get_ifd(0x8769)[0x829A]) == pytest.approx(0.008)
        assert exif.get_ifd(0x8769)[0x9286] == b"ASCII\0\0\0a note"
        assert tuple(map(float, exif.get_ifd(0x8825)[2])) == (59.0, 55.0, 1.5)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_orientation_is_applied_and_reset(tmp_path, suffix, orientation):
    path = tmp_path / f"in.{suffix}"
    image = Image.fromarray(cv2.GaussianBlur(noise(40, 64, 3, 8), (0, 0), 2))
    exif = exif_of(orientation)
    image.save(path, **({"tiffinfo": tags_of(exif)} if suffix == "tif" else {"exif": exif}))
    with opened(path) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.pixels, expected)
    assert photo.pixels.flags.c_contiguous
    for target in ("png", "jpg", "tif", "webp"):
        write_photo(photo, tmp_path / f"out.{target}")
        assert_exif_kept(tmp_path / f"out.{target}")
    again = read_photo(tmp_path / "out.png")
    np.testing.assert_array_equal(again.pixels, expected)


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_orientation_of_16_bit_tiff_with_alpha(tmp_path, orientation, byteorder):
    samples = noise(40, 64, 4, 16)
    tags = [(274, 3, 1, orientation, True), (315, 2, 0, "\u00d8rsted".encode(), True)]
    tifffile.imwrite(
        tmp_path / "in.tif", samples, photometric="rgb", extratags=tags, byteorder=byteorder
    )
    photo = same_format(read_photo(tmp_path / "in.tif"), tmp_path / "out.tif")
    turned = np.rot90(samples, {3: 2, 6: -1}[orientation])
    np.testing.assert_array_equal(samples_of(photo), turned)
    with tifffile.TiffFile(tmp_path / "out.tif") as stored:
        assert stored.pages.first.tags[274].value == 1
        assert stored.pages.first.tags[315].value == "\u00d8rsted"


@pytest.mark.parametrize(("suffix", "depth"), KINDS)
def test_profile_xmp_and_resolution_are_kept(tmp_path, suffix, depth):
    path = tmp_path / f"out.{suffix}"
    photo = same_format(
        photo_of(noise(40, 50, 3, depth), icc=SRGB, xmp=XMP, dpi=(300.0, 240.0)), path
    )
    upright = XMP.replace(b'Orientation="6"', b'Orientation="1"')
    assert (photo.icc, photo.xmp, photo.pixels.shape) == (SRGB, upright, (50, 40, 3))
    with opened(path) as image:
        assert image.info["icc_profile"] == SRGB
        if suffix != "webp":
            assert image.info["dpi"] == pytest.approx((300, 240), abs=0.02)
            assert photo.dpi == pytest.approx((240, 300), abs=0.02)
        if suffix == "tif":
            assert image.tag_v2[700] == XMP
        else:
            assert image.info["xmp"] == XMP


def test_captions_and_comments_are_kept(tmp_path):
    image = Image.fromarray(noise(40, 50, 3, 8))
    text = PngInfo()
    text.add_text("Copyright", "somebody")
    text.add_itxt("Title", "\u00d8", zip=True)
    image.save(tmp_path / "in.png", pnginfo=text)
    iptc = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x08\x1c\x02\x78\0\x03abc"
    segment = b"\xff\xed" + struct.pack(">H", len(iptc) + 2) + iptc
    image.save(tmp_path / "in.jpg", comment=b"a comment", extra=segment)
    for suffix in ("png", "jpg"):
        write_photo(read_photo(tmp_path / f"in.{suffix}"), tmp_path / f"out.{suffix}")
    with opened(tmp_path / "out.png") as stored:
        assert stored.text == {"Copyright": "somebody", "Title": "\u00d8"}
    with opened(tmp_path / "out.jpg") as stored:
        assert stored.info["comment"] == b"a comment"
        assert ("APP13", iptc) in stored.applist


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"", b"II", b"MM\0*\0\0\0\x08\xff\xff", b"II*\0\x08\0\0\0\x05\0"])
def test_damaged_metadata_do_not_stop_a_photo(tmp_path, capfd, exif):
    header = struct.pack(">IIBBBBB", 40, 40, 16, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in noise(40, 40, 1, 16)))
    chunks = (b"iCCP", b"bad\0\0not zlib"), (b"eXIf", exif)
    photo = read_photo(png(header, rows, *chunks))
    for suffix in ("png", "tif", "jpg", "webp"):
        write_photo(photo, tmp_path / f"out.{suffix}")
        assert read_photo(tmp_path / f"out.{suffix}").pixels.shape == (40, 40, 3)
    assert capfd.readouterr() == ("", "")


def test_a_resolution_of_zero_is_none():
    photo = read_photo(tiff_with(noise(64, 64, 3, 16), {282: (0, 0), 296: 2}))
    assert photo.dpi is None


# --- errors ---------------------------------------------------------------------------------------


def encoded(format: str, samples: np.ndarray | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise(64, 64, 3, 8) if samples is None else samples).save(
        buffer, format, **options
    )
    return buffer.getvalue()


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


PAGES = [Image.fromarray(noise(64, 64, 3, 8, seed)) for seed in (1, 2)]
BAD_FILES = {
    "empty": (b"", "empty"),
    "text": (b"not a picture", "not a PNG"),
    "gif": (encoded("GIF"), "not a PNG"),
    "half a jpeg": (encoded("JPEG")[:2000], "cut short"),
    "half a png": (encoded("PNG")[:2000], "cut short"),
    "half a webp": (encoded("WEBP")[:1000], "cut short"),
    "half a tiff": (tiff(noise(64, 64, 3, 16), photometric="rgb")[:9000], "cut short"),
    "head of a png": (encoded("PNG")[:20], "cut short"),
    "head of a jpeg": (encoded("JPEG")[:20], "cut short"),
    "head of a tiff": (encoded("TIFF")[:20], "cut short"),
    "small": (encoded("PNG", noise(MIN_SIDE - 1, 90, 3, 8)), "90 x 31 pixels"),
    "small webp": (encoded("WEBP", noise(90, MIN_SIDE - 1, 3, 8)), "31 x 90 pixels"),
    "huge": (png(struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0), b""), "400 megapixels"),
    "float tiff": (tiff(np.zeros((64, 64, 3), np.float32), photometric="rgb"), "tone-map it"),
    "half float tiff": (tiff(np.zeros((64, 64), np.float16)), "tone-map it"),
    "exr": (b"v/1\x01" + bytes(60), "tone-map it"),
    "radiance": (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n", "tone-map it"),
    "32-bit tiff": (tiff(np.zeros((64, 64), np.uint32)), "32 bits"),
    "five channels": (tiff(noise(64, 64, 5, 8), photometric="rgb"), "5 channels"),
    "missing strips": (tiff_with(noise(64, 64, 3, 8), {257: 80}), "lacks a part"),
    "raw": (tiff(noise(64, 64, 3, 8), photometric="rgb", subfiletype=1), "raw"),
    "pages": (encoded("TIFF", save_all=True, append_images=PAGES), "several pages"),
    "moving png": (encoded("PNG", save_all=True, append_images=PAGES), "animated"),
    "moving webp": (encoded("WEBP", save_all=True, append_images=PAGES), "animated"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_files_that_cannot_be_used(tmp_path, capfd, kind):
    data, reason = BAD_FILES[kind]
    path = tmp_path / "it.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=reason) as error:
        read_photo(path)
    assert str(error.value).startswith(f"{path} ")
    assert "\n" not in str(error.value)
    with pytest.raises(ImageError, match=r"^stdin "):
        read_photo(io.BytesIO(data), name="stdin")
    assert capfd.readouterr() == ("", "")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        read_photo(tmp_path / "none.png")
    with pytest.raises(ImageError, match="is a folder"):
        read_photo(tmp_path)


def test_the_content_tells_the_format_not_the_name(tmp_path):
    samples = noise(40, 50, 3, 8)
    Image.fromarray(samples).save(tmp_path / "it.jpg", "PNG")
    photo = read_photo(tmp_path / "it.jpg")
    assert photo.format == "PNG"
    np.testing.assert_array_equal(photo.pixels, samples)
    write_photo(photo, tmp_path / "without_suffix")
    assert (tmp_path / "without_suffix").read_bytes().startswith(b"\x89PNG")


def test_the_first_picture_of_a_camera_jpeg_is_read(tmp_path):
    first = Image.fromarray(cv2.GaussianBlur(noise(64, 64, 3, 8), (0, 0), 2))
    first.save(tmp_path / "it.jpg", "MPO", save_all=True, append_images=PAGES)
    with opened(tmp_path / "it.jpg") as stored:
        np.testing.assert_array_equal(read_photo(tmp_path / "it.jpg").pixels, np.asarray(stored))


# --- writing --------------------------------------------------------------------------------------


def test_nothing_is_overwritten_without_force(tmp_path):
    path = tmp_path / "out.png"
    path.write_bytes(b"precious")
    photo = photo_of(noise(40, 50, 3, 8))
    with pytest.raises(OutputError, match="exists already"):
        write_photo(photo, path)
    assert path.read_bytes() == b"precious"
    write_photo(photo, path, force=True)
    np.testing.assert_array_equal(independent_read(path), photo.pixels)
    assert [file.name for file in tmp_path.iterdir()] == ["out.png"]


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
def test_a_write_that_fails_half_way_leaves_nothing_and_keeps_the_old_file(tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    path.write_bytes(b"precious")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(OutputError, match=r"cannot be written \(File too large\)"):
            write_photo(photo_of(noise(128, 128, 3, 8)), path, force=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"precious"


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    photo = photo_of(noise(2000, 2000, 3, 8))
    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        with pytest.raises(KeyboardInterrupt):
            write_photo(photo, tmp_path / "out.png")
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("out.bmp", "unknown suffix"),
        ("none/out.png", "No such file"),
        ("folder.png", "is a folder"),
        ("out.jpg", "alpha"),
        ("out.webp", "cannot be written"),
    ],
)
def test_outputs_that_cannot_be_written(tmp_path, name, reason):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match=reason):
        write_photo(photo_of(noise(32, 16500, 4, 8)), tmp_path / name, force=True)
    assert [file.name for file in tmp_path.iterdir()] == ["folder.png"]


def test_written_files_have_ordinary_permissions(tmp_path):
    (tmp_path / "plain").touch()
    write_photo(photo_of(noise(40, 50, 3, 8)), tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


# --- arrays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_floats_round_trip(dtype):
    values = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    floats = to_float(values)
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(floats, (values / np.iinfo(dtype).max).astype(np.float32))
    np.testing.assert_array_equal(from_float(floats, dtype), values)


def test_from_float_clips_and_rounds():
    values = np.array([-1, -np.inf, np.nan, 0.4 / 255, 0.6 / 255, 1, 1.5, np.inf], np.float32)
    np.testing.assert_array_equal(from_float(values, np.uint8), [0, 0, 0, 0, 1, 255, 255, 255])


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(
    ("height", "width", "long_side"),
    [(301, 470, 128), (600, 400, 200), (97, 95, 96), (90, 900, 400)],
)
def test_working_copy_is_the_area_mean(depth, height, width, long_side):
    pixels = noise(height, width, 3, depth)
    copy = working_copy(pixels, long_side)
    floats = pixels.astype(np.float64) / (2**depth - 1)
    assert copy.dtype == np.float32
    assert copy.flags.c_contiguous
    assert max(copy.shape) == long_side
    assert copy.shape[0] / copy.shape[1] == pytest.approx(height / width, abs=0.01)
    reference = cv2.resize(floats, copy.shape[1::-1], interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(copy, reference, atol=1e-5)
    np.testing.assert_allclose(copy.mean((0, 1)), floats.mean((0, 1)), atol=1e-5)


def test_working_copy_of_8_and_16_bit_agree():
    pixels = noise(200, 333, 3, 8)
    wide = working_copy(pixels * np.uint16(257), 100)
    np.testing.assert_allclose(wide, working_copy(pixels, 100), atol=1e-6)


def test_working_copy_never_enlarges_and_keeps_32_rows():
    pixels = noise(40, 60, 3, 8)
    np.testing.assert_array_equal(working_copy(pixels, 60), pixels / np.float32(255))
    np.testing.assert_array_equal(working_copy(pixels, 512), pixels / np.float32(255))
    assert working_copy(noise(64, 6400, 3, 8), 512).shape == (32, 3200, 3)


def test_working_copy_needs_little_memory():
    pixels = np.zeros((2000, 3000, 3), np.uint8)
    tracemalloc.start()
    try:
        working_copy(pixels, 256)
        assert tracemalloc.get_traced_memory()[1] < pixels.nbytes / 2  # as floats: 4 times
    finally:
        tracemalloc.stop()


def test_find_photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "b.PNG",
        "a.jpg",
        "notes.txt",
        ".c.png",
        "sub/d.tiff",
        "sub/.e/f.webp",
        "a/z.webp",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    found = [str(path) for path in find_photos([".", "-", "notes.txt", Path("missing.png")])]
    assert found == ["a.jpg", "b.PNG", "a/z.webp", "sub/d.tiff", "-", "notes.txt", "missing.png"]


def test_a_photo_with_new_pixels_keeps_the_rest(tmp_path):
    independent_write(tmp_path / "in.tif", noise(40, 50, 4, 16))
    photo = read_photo(tmp_path / "in.tif")
    changed = dataclasses.replace(photo, pixels=65535 - photo.pixels)
    write_photo(changed, tmp_path / "out.tif")
    stored = independent_read(tmp_path / "out.tif")
    np.testing.assert_array_equal(stored[..., :3], 65535 - photo.pixels)
    np.testing.assert_array_equal(stored[..., 3], photo.alpha)
