"""Pixels of photographs: depth, alpha, grey and CMYK in files; floats and working copies."""

import dataclasses
import io
import itertools
import struct
import tracemalloc
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from photo_files import (
    KINDS,
    SRGB,
    independent_read,
    independent_write,
    noise,
    opened,
    photo_of,
    png,
    same_format,
    samples_of,
    tiff,
)
from PIL import Image, ImageCms

from qdnet_keras.photos.files import (
    Photo,
    from_float,
    read_photo,
    to_float,
    working_copy,
    write_photo,
)

# --- depth, alpha, grey ---------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("extra", "alpha_at"),
    [
        ([], None),
        (["unspecified"], None),
        (["unassalpha"], 3),
        (["unspecified", "unassalpha"], 4),
        (["unassalpha", "unspecified"], 3),
        (["unspecified", "unspecified"], None),
    ],
)
def test_selections_that_a_tiff_keeps_are_no_alpha(extra, alpha_at):
    samples = noise(40, 50, 3 + len(extra), 8)
    photo = read_photo(tiff(samples, photometric="rgb", extrasamples=extra))
    np.testing.assert_array_equal(photo.pixels, samples[..., :3])
    if alpha_at is None:
        assert photo.alpha is None
    else:
        np.testing.assert_array_equal(photo.alpha, samples[..., alpha_at])
    has_others = len(extra) > (alpha_at is not None)
    assert photo.notes == (("further channels were left out",) if has_others else ())


def test_lab_becomes_srgb(tmp_path):
    y, x = np.mgrid[0:40, 0:50]
    colours = np.stack([x * 5, y * 6, 255 - x * 3], axis=-1).astype(np.uint8)
    spaces = map(ImageCms.createProfile, ("sRGB", "LAB"))
    to_lab = ImageCms.buildTransform(*spaces, "RGB", "LAB", renderingIntent=1)
    lab = ImageCms.applyTransform(Image.fromarray(colours), to_lab)
    lab.save(tmp_path / "8.tif")
    photo = read_photo(tmp_path / "8.tif")
    assert (photo.depth, photo.icc, photo.notes) == (8, None, ("Lab became sRGB",))
    distance = np.abs(photo.pixels.astype(int) - colours)  # that of rounding Lab to 8 bits
    assert distance.mean() < 1
    assert distance.max() <= 20
    with tifffile.TiffFile(tmp_path / "8.tif") as stored:
        eight = stored.pages.first.asarray()
    chroma = eight[..., 1:].view(np.int8).astype(np.int16) * 256
    sixteen = np.dstack([eight[..., :1].astype(np.uint16) * 257, chroma.view(np.uint16)])
    wide = read_photo(tiff(sixteen, photometric="cielab"))
    assert wide.depth == 16
    assert np.abs(wide.pixels / 257 - photo.pixels).max() <= 1


def test_interlaced_16_bit_png(tmp_path):
    samples = noise(40, 45, 3, 16)
    rows = b""
    passes = (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2)  # Adam7
    for y, x, dy, dx in (*passes, (0, 1, 2, 2), (1, 0, 2, 1)):
        rows += b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples[y::dy, x::dx])
    data = png(struct.pack(">IIBBBBB", 45, 40, 16, 2, 0, 0, 1), zlib.compress(rows))
    np.testing.assert_array_equal(read_photo(data).pixels, samples)


def test_a_photo_with_new_pixels_keeps_the_rest(tmp_path):
    independent_write(tmp_path / "in.tif", noise(40, 50, 4, 16))
    photo = read_photo(tmp_path / "in.tif")
    changed = dataclasses.replace(photo, pixels=65535 - photo.pixels)
    write_photo(changed, tmp_path / "out.tif")
    stored = independent_read(tmp_path / "out.tif")
    np.testing.assert_array_equal(stored[..., :3], 65535 - photo.pixels)
    np.testing.assert_array_equal(stored[..., 3], photo.alpha)


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
