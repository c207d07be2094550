"""Raw files of cameras, by way of a DNG whose colours are known."""

import sys

import numpy as np
import pytest
from photo_files import tiff
from PIL import Image

from qdnet_keras.errors import ImageError
from qdnet_keras.photos.files import read_photo, write_photo
from qdnet_keras.photos.formats.exif import BYTE_ORDERS, merge_directories

SRGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
BLACK, WHITE, D65, CFA = 256, 4095, 21, 32803
PATCHES = np.array(  # light of sRGB; one is white, so that nothing is left to stretch
    [
        [[0.02, 0.1, 0.3], [0.5, 0.2, 0.05], [1, 1, 1], [0.18, 0.18, 0.18]],
        [[0.6, 0.7, 0.8], [0.9, 0.1, 0.4], [0, 0, 0], [0.02, 0.02, 0.02]],
    ]
)
SIDE = 24


def dng(neutral: tuple[float, ...] = (1, 1, 1), orientation: int = 1) -> bytes:
    """`PATCHES` as a Bayer sensor sees them that answers a white surface by `neutral`."""
    light = PATCHES.repeat(SIDE, axis=0).repeat(SIDE, axis=1) * neutral
    mosaic = np.empty(light.shape[:2])
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        mosaic[row::2, column::2] = light[row::2, column::2, channel]
    matrix = np.linalg.inv(SRGB_TO_XYZ) * np.array(neutral)[:, None]

    def ratios(values) -> list[int]:
        return [part for value in np.ravel(values) for part in (round(value * 10000), 10000)]

    tags = [
        *((50706, 1, 4, bytes((1, 4, 0, 0)), True), (33422, 1, 4, bytes((0, 1, 1, 2)), True)),
        *((271, 2, 0, "Maker", True), (272, 2, 0, "Model", True), (274, 3, 1, orientation, True)),
        *((33421, 3, 2, (2, 2), True), (50714, 3, 1, BLACK, True), (50717, 3, 1, WHITE, True)),
        *((50721, 10, 9, ratios(matrix), True), (50728, 5, 3, ratios(neutral), True)),
        (50778, 3, 1, D65, True),
    ]
    samples = np.rint(BLACK + mosaic * (WHITE - BLACK)).astype(np.uint16)
    return tiff(samples, photometric=CFA, extratags=tags, metadata=None, software=False)


@pytest.mark.parametrize("neutral", [(1, 1, 1), (0.5, 1, 0.7)])
def test_a_raw_file_is_developed_as_it_was_shot(neutral):
    photo = read_photo(dng(neutral))
    assert (photo.format, photo.depth, photo.icc) == ("TIFF", 16, None)
    assert photo.notes == ("developed from a raw file (DNG)",)
    centres = photo.pixels[SIDE // 2 :: SIDE, SIDE // 2 :: SIDE] / 65535
    curve = np.where(PATCHES <= 0.0031308, 12.92 * PATCHES, 1.055 * PATCHES ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(centres, curve, atol=0.5 / 255)


def test_a_raw_file_is_turned_and_written_as_a_tiff_with_its_words(tmp_path):
    upright, turned = read_photo(dng()), read_photo(dng(orientation=6))
    np.testing.assert_array_equal(turned.pixels, np.rot90(upright.pixels, -1))
    assert write_photo(turned, tmp_path / "out.tif") == turned.notes
    again = read_photo(tmp_path / "out.tif")
    np.testing.assert_array_equal(again.pixels, turned.pixels)
    assert b"Maker" in again.exif
    assert b"Model" in again.exif


def test_a_makers_note_stays_behind():
    """It may hold a preview of the old pixels."""
    exif = Image.Exif()
    exif.get_ifd(34665).update({37500: b"note of the maker", 37510: b"comment"})
    exif[305] = "Software"
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    order = BYTE_ORDERS[block[:2]]
    for without, is_there in (((), True), ((37500,), False)):
        kept = merge_directories(order, 8, (block, 8, None), without=without)
        assert (b"note of the maker" in kept) == is_there
        assert b"comment" in kept
        assert b"Software" in kept


def test_without_its_library_a_raw_file_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    cameras = {
        dng(): "DNG",
        b"II*\0\x10\0\0\0CR\x02\0": "Canon CR2",
        b"FUJIFILMCCD-RAW ": "Fujifilm RAF",
    }
    for data, name in cameras.items():
        words = (
            rf"^the picture is a camera's raw file \({name}\); develop it [^\n]*qdnet-keras\[raw\]"
        )
        with pytest.raises(ImageError, match=words):
            read_photo(data + bytes(100))


def test_damaged_raw_files_end_in_a_sentence(capfd):
    data = dng()
    for kept in (len(data) - 100, len(data) // 2):
        words = r"it is a camera's raw file \(DNG\) that LibRaw cannot read \(.*error\); develop it"
        with pytest.raises(ImageError, match=rf"^{words} [^\n]*\.$"):
            read_photo(data[:kept], "it")
    assert capfd.readouterr() == ("", "")
