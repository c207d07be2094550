"""What is brought up to date, kept, left out and told when a photograph is written anew."""

import io
import os
import stat
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from photo_files import ORIENTATION, encoded, noise, opened, photo_of, png, tiff
from PIL import Image

from qdnet_keras.errors import ImageError
from qdnet_keras.photos.files import (
    FORMATS,
    find_photos,
    photo_file,
    read_photo,
    working_copy,
    write_photo,
)

DATA = Path(__file__).parent / "data" / "photos"
XMP_SEGMENT, EXTENSION = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg_with(*segments: bytes, **options: object) -> bytes:
    data = encoded("JPEG", noise(40, 64, 3, 8), **options)
    return data[:2] + b"".join(segments) + data[2:]


def exif_with_thumbnail(kind: int = 3) -> bytes:
    """EXIF of a turned picture, 64 x 40: orientation of that type, sizes, a thumbnail."""
    thumbnail = encoded("JPEG", noise(32, 32, 3, 8))
    value = struct.pack("<B3x" if kind == 1 else "<H2x", 6)
    first = struct.pack("<HHHI4s", 2, ORIENTATION, kind, 1, value)
    first += struct.pack("<HHII", 0x8769, 4, 1, 38) + struct.pack("<I", 68)
    nested = struct.pack("<HHHIIHHIII", 2, 0xA002, 4, 1, 64, 0xA003, 4, 1, 40, 0)
    second = struct.pack("<HHHIIHHIII", 2, 513, 4, 1, 98, 514, 4, 1, len(thumbnail), 0)
    return b"II*\0\x08\0\0\0" + first + nested + second + thumbnail


@pytest.mark.parametrize("kind", [1, 3])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_is_that_of_the_upright_picture(tmp_path, suffix, kind):
    photo = read_photo(jpeg_with(segment(0xE1, b"Exif\0\0" + exif_with_thumbnail(kind))))
    assert photo.pixels.shape == (64, 40, 3)
    assert photo.exif is not None
    assert b"\xff\xd8" not in photo.exif
    write_photo(photo, tmp_path / f"out.{suffix}")
    with opened(tmp_path / f"out.{suffix}") as image:
        exif = image.getexif()
        nested = exif.get_ifd(0x8769)
        assert (exif[ORIENTATION], nested[0xA002], nested[0xA003]) == (1, 40, 64)
        assert not exif.get_ifd(1)


def test_xmp_is_that_of_the_upright_picture():
    packet = (
        b'<x tiff:Orientation="6" tiff:ImageWidth="64" exif:PixelYDimension="40" a="7"'
        b' hdrgm:Version="1.0"><xmp:Thumbnails>AAAA</xmp:Thumbnails></x>'
    )
    photo = read_photo(jpeg_with(segment(0xE1, XMP_SEGMENT + packet)))
    assert photo.xmp == (
        b'<x tiff:Orientation="1" tiff:ImageWidth="40" exif:PixelYDimension="64" a="7"></x>'
    )


def test_extended_xmp_stays_in_a_jpeg_and_its_pointer_goes_elsewhere(tmp_path):
    main = b'<x xmpNote:HasExtendedXMP="0123" a="7"/>'
    parts = [
        EXTENSION + b"0" * 32 + struct.pack(">II", 90000, at) + b"x" * 45000 for at in (0, 45000)
    ]
    data = jpeg_with(segment(0xE1, XMP_SEGMENT + main), *(segment(0xE1, part) for part in parts))
    photo = read_photo(data)
    assert write_photo(photo, tmp_path / "out.jpg") == ()
    with opened(tmp_path / "out.jpg") as image:
        assert [body for name, body in image.applist if body.startswith(EXTENSION)] == parts
    assert write_photo(photo, tmp_path / "out.png") == (
        "texts that only a JPEG holds were left out",
    )
    assert read_photo(tmp_path / "out.png").xmp == b'<x a="7"/>'


def test_what_is_too_long_for_a_jpeg_is_split_or_told(tmp_path):
    long = b"<x a='" + b"7" * 80000 + b"'/>"
    padded = b"<?xpacket?><x/>" + b" " * 80000 + b"<?xpacket end='w'?>"
    iptc = b"\x1c\x02\x78\x84" + struct.pack(">I", 70000) + b"c" * 70000
    photo = photo_of(noise(40, 64, 3, 8), "TIFF", xmp=long, iptc=iptc, exif=b"II*\0" + bytes(70000))
    notes = write_photo(photo, tmp_path / "out.jpg")
    assert notes == (
        "XMP was left out: it is longer than a JPEG can hold",
        "EXIF was left out: it is longer than a JPEG can hold",
    )
    assert read_photo(tmp_path / "out.jpg").iptc == iptc
    assert write_photo(photo_of(noise(40, 64, 3, 8), xmp=padded), tmp_path / "padded.jpg") == ()
    assert read_photo(tmp_path / "padded.jpg").xmp == b"<?xpacket?><x/>\n<?xpacket end='w'?>"


def test_photoshops_thumbnail_goes_and_its_other_resources_stay(tmp_path):
    def resource(number: int, body: bytes) -> bytes:
        return b"8BIM" + struct.pack(">HHI", number, 0, len(body)) + body + b"\0" * (len(body) % 2)

    guides, iptc = resource(1032, b"guides"), b"\x1c\x02\x78\0\x03abc"
    body = b"Photoshop 3.0\0" + resource(1036, b"old pixels") + guides + resource(1028, iptc)
    photo = read_photo(jpeg_with(segment(0xED, body)))
    assert photo.iptc == iptc
    write_photo(photo, tmp_path / "out.jpg")
    written = (tmp_path / "out.jpg").read_bytes()
    assert guides in written
    assert b"old pixels" not in written


def test_gain_maps_and_further_pictures_are_told(tmp_path):
    photo = read_photo(DATA / "ultrahdr.jpg")
    assert photo.notes == ("the gain map of its HDR rendering was left out",)
    assert write_photo(photo, tmp_path / "out.jpg") == photo.notes
    assert b"hdrgm:" not in (tmp_path / "out.jpg").read_bytes()
    others = [Image.fromarray(noise(64, 64, 3, 8, seed)) for seed in (1, 2)]
    Image.fromarray(noise(64, 64, 3, 8)).save(
        tmp_path / "mpo.jpg", "MPO", save_all=True, append_images=others
    )
    assert read_photo(tmp_path / "mpo.jpg").notes == ("further pictures in the file were left out",)


def test_content_credentials_are_told(tmp_path):
    box = b"JP\0\1\0\0\0\1\0\0\0\x40jumb\0\0\0\x29jumdc2pa\0\x11\0\x10"
    jpeg, chunk = jpeg_with(segment(0xEB, box)), (b"caBX", box[8:])
    rows = b"".join(b"\0" + row.tobytes() for row in noise(40, 64, 3, 8))
    header = struct.pack(">IIBBBBB", 64, 40, 8, 2, 0, 0, 0)
    for data in (jpeg, png(header, zlib.compress(rows), chunk)):
        photo = read_photo(data)
        expected = "its content credentials were left out: they vouch for the old pixels"
        assert write_photo(photo, tmp_path / "out", force=True) == (expected,)
        assert b"c2pa" not in (tmp_path / "out").read_bytes()


@pytest.mark.parametrize(
    "says",
    [
        b'GCamera:MicroVideo="1" GCamera:MicroVideoOffset="5000"',
        b"Camera:MotionPhoto=\"1\" Camera:MotionPhotoPresentationTimestampUs='9'",
    ],
)
def test_videos_of_motion_photos_are_told_and_no_longer_spoken_of(tmp_path, says):
    packet = XMP_SEGMENT + b"<x " + says + b' a="7"/>'
    photo = read_photo(jpeg_with(segment(0xE1, packet)) + b"\0\0\0\x18ftypmp42" + bytes(5000))
    expected = "the video of its motion photo was left out"
    assert write_photo(photo, tmp_path / "out.jpg") == (expected,)
    assert read_photo(tmp_path / "out.jpg").xmp == b'<x a="7"/>'
    assert b"ftyp" not in (tmp_path / "out.jpg").read_bytes()


def test_a_resolution_is_what_the_file_says(tmp_path):
    maker = Image.Exif()
    maker[271] = "Maker"
    photo = read_photo(jpeg_with(exif=maker.tobytes()))
    assert photo.dpi is None
    maker[282], maker[283], maker[296] = 240.0, 240.0, 2
    photo = read_photo(jpeg_with(exif=maker.tobytes()))
    assert photo.dpi == (240.0, 240.0)
    assert write_photo(photo, tmp_path / "out.webp") == ()
    with opened(tmp_path / "out.webp") as image:
        assert image.getexif()[282] == 240
    told = ("the resolution was left out: WEBP holds none",)
    assert write_photo(read_photo(jpeg_with(dpi=(300, 300))), tmp_path / "b.webp") == told


def test_bigtiff_is_turned_and_keeps_its_words(tmp_path):
    photo = read_photo(DATA / "bigtiff.tif")
    assert photo.turned
    with tifffile.TiffFile(DATA / "bigtiff.tif") as stored:
        words = {tag: stored.pages.first.tags[tag].value for tag in (315, 33432)}
        expected = np.rot90(stored.pages.first.asarray(), -1)
    np.testing.assert_array_equal(photo.pixels, expected)
    for suffix in ("tif", "jpg"):
        write_photo(photo, tmp_path / f"out.{suffix}")
        with opened(tmp_path / f"out.{suffix}") as image:
            assert {tag: image.getexif()[tag] for tag in words} == words


@pytest.mark.parametrize("packed", [False, True])
def test_exif_in_the_older_place_of_png(tmp_path, packed):
    exif = b"Exif\0\0" + exif_with_thumbnail()
    digits = exif.hex().encode()
    lines = b"\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    text = b"\nexif\n%8d\n%s\n" % (len(exif), lines)
    name = b"Raw profile type exif\0"
    chunk = (b"zTXt", name + b"\0" + zlib.compress(text)) if packed else (b"tEXt", name + text)
    rows = b"".join(b"\0" + row.tobytes() for row in noise(40, 64, 3, 8))
    header = struct.pack(">IIBBBBB", 64, 40, 8, 2, 0, 0, 0)
    photo = read_photo(png(header, zlib.compress(rows), chunk))
    np.testing.assert_array_equal(photo.pixels, np.rot90(noise(40, 64, 3, 8), -1))
    write_photo(photo, tmp_path / "out.png")
    assert not read_photo(tmp_path / "out.png").turned
    assert b"Raw profile" not in (tmp_path / "out.png").read_bytes()


def test_malformed_xmp_of_a_png_is_told():
    rows = b"".join(b"\0" + row.tobytes() for row in noise(40, 64, 3, 8))
    header = struct.pack(">IIBBBBB", 64, 40, 8, 2, 0, 0, 0)
    photo = read_photo(png(header, zlib.compress(rows), (b"iTXt", b"XML:com.adobe.xmp\0\x01")))
    assert photo.notes == ("its XMP is damaged and was left out",)


@pytest.mark.parametrize("chunk", [(b"PLTE", bytes(7)), (b"tRNS", bytes(3))])
def test_odd_chunks_of_a_png_are_passed_over_in_silence(tmp_path, chunk):
    rows = b"".join(b"\0" + row.tobytes() for row in noise(40, 64, 3, 8))
    header = struct.pack(">IIBBBBB", 64, 40, 8, 2, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(png(header, zlib.compress(rows + b"more"), chunk))
    program = (
        "from qdnet_keras.photos.files import read_photo, write_photo\n"
        "write_photo(read_photo('a.png'), 'b.png')"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    with opened(tmp_path / "b.png") as image:
        np.testing.assert_array_equal(np.asarray(image), noise(40, 64, 3, 8))


# --- JPEGs with less than they should have --------------------------------------------------------


def test_only_the_end_mark_of_a_jpeg_may_be_missing(capfd):
    data = (DATA / "no_end_mark.jpg").read_bytes()
    np.testing.assert_array_equal(
        read_photo(data).pixels, np.asarray(Image.open(io.BytesIO(data + b"\xff\xd9")))
    )
    start = data.index(b"\xff\xc0") + 5
    (height,) = struct.unpack_from(">H", data, start)
    taller = data[:start] + struct.pack(">H", 2 * height) + data[start + 2 :] + b"\xff\xd9"
    for damaged in (taller, data[: len(data) // 2], data[: len(data) // 2] + b"\xff\xd9"):
        with pytest.raises(ImageError, match="a part of its pixels is missing"):
            read_photo(damaged)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_read_smaller_has_the_same_working_copy(mode):
    y, x = np.mgrid[0:900, 0:1200] / 90
    waves = np.stack([np.sin(x + y), np.cos(x - y), np.sin(y * 2)], -1) * 100 + 128
    image = Image.fromarray(waves.astype(np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    small = read_photo(buffer.getvalue(), least_side=128)
    whole = read_photo(buffer.getvalue())
    assert small.pixels.shape == (225, 300, 3)
    assert whole.pixels.shape == (900, 1200, 3)
    copies = [working_copy(photo.pixels, 128) for photo in (small, whole)]
    assert copies[0].shape == copies[1].shape
    assert np.abs(copies[0] - copies[1]).max() < 3 / 255
    narrow = encoded("JPEG", noise(40, 1200, 3, 8))
    assert read_photo(narrow, least_side=64).pixels.shape == (40, 1200, 3)


# --- files ----------------------------------------------------------------------------------------


def test_force_writes_through_links_and_keeps_mode_bits(tmp_path):
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "a.png", tmp_path / "link.png"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    write_photo(photo_of(noise(40, 64, 3, 8)), link, force=True)
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert read_photo(target).pixels.shape == (40, 64, 3)


def test_pipes_and_looping_links_are_passed_over_in_folders(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    for name in ("A.JFIF", "b.HEIC", "c.jxl"):
        (tmp_path / name).touch()
    passed_over: list[Path] = []
    found = [path.name for path in find_photos([tmp_path], passed_over.append)]
    assert found == ["A.JFIF", "b.HEIC", "c.jxl"]
    assert [path.name for path in passed_over] == ["loop.png", "pipe.jpg"]
    with pytest.raises(ImageError, match="no ordinary file"):
        read_photo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="symbolic links"):
        read_photo(tmp_path / "loop.png")


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_in_memory_is_the_one_on_disk(tmp_path, name):
    photo = photo_of(noise(40, 64, 3, 8), name)
    data, notes = photo_file(photo)
    assert notes == write_photo(photo, tmp_path / "out")
    assert data == (tmp_path / "out").read_bytes()


def test_tiff_keeps_iptc_and_profile_in_their_tags(tmp_path):
    iptc = b"\x1c\x02\x78\0\x03abc"
    data = tiff(noise(40, 64, 3, 16), photometric="rgb", extratags=[(33723, 7, 9, iptc, True)])
    write_photo(read_photo(data), tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as stored:
        assert bytes(stored.pages.first.tags[33723].value)[: len(iptc)] == iptc


def test_damaged_files_of_every_format_end_in_a_picture_or_a_sentence():
    script = Path(__file__).parents[1] / "scripts" / "fuzz_photos.py"
    command = [sys.executable, str(script), "--count", "160", "--seconds", "60"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " 0 failed" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("is_compressed", [False, True])
def test_metadata_of_jpeg_xl_may_be_compressed_and_damaged(is_compressed, capfd):
    exif = Image.Exif()
    exif[ORIENTATION] = 1
    data = encoded("JXL", exif=exif.tobytes(), xmp=b"<x/>", compress_metadata=is_compressed)
    assert (b"brob" in data) == is_compressed
    photo = read_photo(data)
    assert (photo.xmp, photo.exif[:4]) == (b"<x/>", b"MM\0*")
    damaged = data + struct.pack(">I20x", 6)  # a box shorter than its head
    np.testing.assert_array_equal(read_photo(damaged).pixels, photo.pixels)
    assert capfd.readouterr() == ("", "")
