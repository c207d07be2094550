"""Any photograph: formats, depths, profiles, orientations and alpha, by other software."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from photo_files import ORIENTATION, opened, png, tiff
from PIL import Image
from test_images_colour import SPACES, as_seen, shares, wide

from qdnet_keras.errors import ImageError, OutputError
from qdnet_keras.photos import colour
from qdnet_keras.photos.files import FORMATS, Photo, read_photo, write_photo

MAKER = 271
TURNS = {1: 0, 3: 2, 6: -1, 8: 1}  # quarter turns against the clock that show a picture upright
KINDS = {  # kind of file -> mean levels of 255 that writing may cost
    "png 8": 0,
    "png 16": 0,
    "tif 8": 0,
    "tif 16": 0,
    "webp lossless": 0,
    "webp": 2,
    "jpg": 2,
    "avif": 2,
    "heic": 2,
    "jxl": 2,
    "jp2 8": 0,
    "jp2 16": 0,
}
NO_ALPHA = {"jpg", "jp2 8", "jp2 16"}


def pixels_of(seed: int, channels: int, depth: int) -> np.ndarray:
    """Smooth random samples `[40, 64, channels]`."""
    coarse = np.random.default_rng(seed).random((3, 4, channels), np.float32)
    smooth = cv2.resize(coarse, (64, 40), interpolation=cv2.INTER_LINEAR)
    smooth = smooth.reshape(40, 64, channels) * (2**depth - 1)
    return np.rint(smooth).astype(np.uint8 if depth == 8 else np.uint16)


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[MAKER], exif[ORIENTATION] = "Maker", orientation
    return exif.tobytes()


def file_of(kind: str, pixels: np.ndarray, icc: bytes | None, orientation: int) -> bytes:
    """A file that neither the package nor its way of writing made."""
    format = kind.split()[0]
    exif = exif_of(orientation)
    buffer = io.BytesIO()
    if format == "tif":
        tags = [(MAKER, 2, 0, "Maker", True), (ORIENTATION, 3, 1, orientation, True)]
        extra = {"extrasamples": ["unassalpha"]} if pixels.shape[2] == 4 else {}
        return tiff(pixels, photometric="rgb", iccprofile=icc, extratags=tags, **extra)
    if kind == "png 16":
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
        channels = {3: 2, 4: 6}[pixels.shape[2]]
        header = struct.pack(">IIBBBBB", *pixels.shape[1::-1], 16, channels, 0, 0, 0)
        chunks = [(b"eXIf", exif.removeprefix(b"Exif\0\0"))]
        chunks += [(b"iCCP", b"p\0\0" + zlib.compress(icc))] if icc else []
        return png(header, zlib.compress(rows), *chunks)
    if format == "heic":
        image = pillow_heif.from_pillow(Image.fromarray(pixels))
        image.info.update(exif=exif, **({"icc_profile": icc} if icc else {}))
        image.save(buffer, quality=95, chroma=444)
        return buffer.getvalue()
    if format == "jxl":
        return imagecodecs.jpegxl_encode(pixels, lossless=True)
    if format == "jp2":
        return imagecodecs.jpeg2k_encode(pixels, codecformat="jp2", reversible=True)
    name = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "avif": "AVIF"}[format]
    options = {
        "jpg": {"quality": 98, "subsampling": 0},
        "webp lossless": {"lossless": True, "exact": True},
        "webp": {"quality": 98},
        "avif": {"quality": 98, "subsampling": "4:4:4"},
    }.get(kind, {})
    Image.fromarray(pixels).save(buffer, name, icc_profile=icc, exif=exif, **options)
    return buffer.getvalue()


@settings(
    deadline=None, max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(
    kind=st.sampled_from([*KINDS]),
    space=st.sampled_from([None, *SPACES]),
    orientation=st.sampled_from([*TURNS]),
    transparent=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_photograph_is_seen_as_its_twin_and_keeps_what_it_has(
    tmp_path_factory, kind, space, orientation, transparent, seed
):
    suffix = kind.split()[0]
    if suffix in ("jxl", "jp2"):  # their writer here knows neither profile nor orientation
        space, orientation = None, 1
    transparent = transparent and kind not in NO_ALPHA
    depth = 16 if "16" in kind else 8
    icc = wide(space) if space else None
    pixels = pixels_of(seed, 4 if transparent else 3, depth)
    photo = read_photo(file_of(kind, pixels, icc, orientation))

    upright = shares(np.rot90(pixels, TURNS[orientation]))
    opacity = upright[..., 3:] if transparent else 1.0
    shown = as_seen(upright[..., :3], space) if space else upright[..., :3]
    twin = shown * opacity + 0.5 * (1 - opacity)
    assert (photo.depth, photo.notes) == (depth, ())
    assert np.abs(shares(photo.srgb) - twin).mean() < (0.5 + KINDS[kind]) / 255

    same = photo.with_rendered(photo.srgb)
    np.testing.assert_array_equal(same.pixels, photo.pixels)
    path = tmp_path_factory.mktemp("out") / f"out.{suffix}"
    assert write_photo(same, path) == ()
    again = read_photo(path)
    assert again.pixels.shape == photo.pixels.shape
    assert (again.format, again.depth) == (photo.format, photo.depth)
    if suffix != "jxl":  # whose encoder is given no profile and writes that of sRGB
        assert again.icc == photo.icc
    assert np.abs(shares(again.pixels) - shares(photo.pixels)).mean() <= KINDS[kind] / 255
    if transparent:
        np.testing.assert_allclose(shares(again.alpha), shares(photo.alpha), atol=2 / 255)
    if suffix not in ("jxl", "jp2"):
        assert again.exif is not None
        assert b"Maker" in again.exif
        assert not again.turned


@pytest.mark.parametrize("bits", [10, 12])
def test_avif_of_more_than_8_bits_is_read_as_16(bits):
    pixels = pixels_of(1, 3, 16) >> (16 - bits)
    data = imagecodecs.avif_encode(pixels, level=100, bitspersample=bits)
    photo = read_photo(data)
    assert photo.depth == 16
    assert np.abs(shares(photo.pixels) - pixels / (2**bits - 1)).mean() < 1 / 255


def test_avif_says_its_colours_by_numbers():
    pixels = pixels_of(2, 3, 8)
    data = imagecodecs.avif_encode(pixels, level=100, primaries=12, transfer=13)
    expected = as_seen(shares(pixels), "p3")
    assert np.abs(read_photo(data).srgb / 255 - expected).mean() < 2 / 255
    with pytest.raises(ImageError, match="PQ"):
        read_photo(imagecodecs.avif_encode(pixels, level=100, primaries=9, transfer=16))


def test_depths_of_jpeg_2000_and_jpeg_xl():
    pixels = pixels_of(3, 3, 16)
    twelve = pixels >> 4
    data = imagecodecs.jpeg2k_encode(twelve, codecformat="jp2", bitspersample=12, reversible=True)
    assert np.abs(shares(read_photo(data).pixels) - twelve / 4095).max() < 1e-4
    np.testing.assert_array_equal(
        read_photo(imagecodecs.jpegxl_encode(pixels, lossless=True)).pixels, pixels
    )


@pytest.mark.parametrize("suffix", ["heic", "avif", "jxl", "jp2"])
def test_profile_and_metadata_of_newer_formats(tmp_path, suffix):
    exif, xmp = exif_of(1).removeprefix(b"Exif\0\0"), b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    photo = Photo(pixels_of(4, 3, 8), None, False, "PNG", icc=wide("p3"), exif=exif, xmp=xmp)
    notes = write_photo(photo, tmp_path / f"out.{suffix}")
    again = read_photo(tmp_path / f"out.{suffix}")
    assert again.xmp == xmp
    assert again.exif is not None
    assert b"Maker" in again.exif if suffix == "avif" else again.exif == exif  # Pillow renews it
    if suffix == "jxl":
        assert notes == ("converted to sRGB: JPEG XL is written without its profile",)
        assert again.is_srgb
    else:
        assert (notes, again.icc) == ((), photo.icc)
    assert np.abs(shares(again.srgb) - shares(photo.srgb)).mean() < 2 / 255
    if suffix in ("avif", "jp2"):
        with opened(tmp_path / f"out.{suffix}") as image:
            assert np.abs(np.asarray(image).astype(int) - again.pixels).max() <= 1


def test_what_a_format_cannot_hold_is_told(tmp_path):
    photo = Photo(
        np.repeat(pixels_of(5, 1, 16), 3, axis=2),
        None,
        True,
        "TIFF",
        icc=colour.grey_profile(1.8),
        iptc=b"\x1c\x02\x78\0\x03abc",
        dpi=(300.0, 300.0),
    )
    assert write_photo(photo, tmp_path / "out.tif") == ()
    assert write_photo(photo, tmp_path / "out.png") == ()
    assert write_photo(photo, tmp_path / "out.jpg") == ("16 bits were rounded to 8",)
    for suffix in ("png", "tif", "jpg"):
        assert read_photo(tmp_path / f"out.{suffix}").iptc == photo.iptc
    assert write_photo(photo, tmp_path / "out.webp") == (
        "converted to sRGB: WEBP is written without its profile",
        "16 bits were rounded to 8",
        "IPTC was left out: WEBP holds none",
        "the resolution was left out: WEBP holds none",
    )


def test_alpha_is_never_dropped(tmp_path):
    photo = Photo(pixels_of(6, 3, 8), pixels_of(7, 1, 8)[..., 0], False, "PNG")
    for suffix in ("jpg", "jp2"):
        with pytest.raises(OutputError, match="alpha"):
            write_photo(photo, tmp_path / f"out.{suffix}")


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_told_by_content_and_cut_files_end_in_a_sentence(tmp_path, name):
    path = tmp_path / f"a{FORMATS[name].suffixes[0]}"
    write_photo(Photo(pixels_of(8, 3, 8), None, False, "PNG"), path)
    data = path.read_bytes()
    assert read_photo(data).format == name
    for size in (16, len(data) // 3, len(data) * 2 // 3):
        with pytest.raises(ImageError, match=r"^it\.x [^\n]*\.$"):
            read_photo(data[:size], "it.x")


def test_raw_files_are_named():
    for data, name in ((b"II*\0\x10\0\0\0CR\x02\0", "Canon CR2"), (b"FUJIFILMCCD-RAW ", "RAF")):
        with pytest.raises(ImageError, match=rf"raw file \(.*{name}\); develop it"):
            read_photo(data + bytes(100))


def test_the_documents_list_every_suffix():
    text = (Path(__file__).parents[1] / "docs" / "photographs.md").read_text()
    for format in FORMATS.values():
        for suffix in format.suffixes:
            assert f"`{suffix}`" in text
