"""Metadata of photographs: EXIF and orientation, profiles, XMP, resolution, captions."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from photo_files import (
    KINDS,
    SRGB,
    noise,
    opened,
    photo_of,
    png,
    same_format,
    samples_of,
    tiff_with,
)
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from qdnet_keras.photos.files import read_photo, write_photo

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6" by="\xc3\x98"/></x:xmpmeta>'


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
