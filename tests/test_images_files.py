"""Files of photographs: those that cannot be used, those that are written, those that are found."""

import io
import resource
import signal
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from photo_files import encoded, independent_read, noise, opened, photo_of, png, tiff, tiff_with
from PIL import Image

from qdnet_keras.errors import ImageError, OutputError
from qdnet_keras.photos.files import MIN_SIDE, find_photos, read_photo, write_photo

# --- errors ---------------------------------------------------------------------------------------


PAGES = [Image.fromarray(noise(64, 64, 3, 8, seed)) for seed in (1, 2)]
BAD_FILES = {
    "empty": (b"", "empty"),
    "text": (b"not a picture", "not a PNG"),
    "gif": (encoded("GIF"), "is a GIF; save it as a PNG"),
    "bmp": (encoded("BMP"), "is a BMP; save it"),
    "photoshop": (b"8BPS\0\1" + bytes(60), "is a Photoshop document"),
    "video": (b"\0\0\0\x18ftypmp42" + bytes(60), "is a video; give a still picture"),
    "apple's png": (b"\x89PNG\r\n\x1a\n\0\0\0\4CgBI" + bytes(60), "in Apple's own form"),
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
    "two channels": (
        tiff_with(noise(64, 64, 3, 8), {277: 2}),
        "is a TIFF of kind RGB, 2 channels, 8 bits; save it as grey or RGB",
    ),
    "missing strips": (tiff_with(noise(64, 64, 3, 8), {257: 80}), "lacks a part"),
    "raw": (
        tiff(
            noise(64, 64, 3, 8),
            photometric="rgb",
            subfiletype=1,
            extratags=[(271, 2, 0, "NIKON", True)],
        ),
        r"is a camera's raw file \(NIKON\)[^\n]*; develop it",
    ),
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


# --- finding --------------------------------------------------------------------------------------


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
