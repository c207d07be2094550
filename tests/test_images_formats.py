"""Any photograph: formats, depths, profiles, orientations and alpha, by other software."""

import io
import itertools
import struct
import zlib
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pillow_heif
import pytest
from photo_files import ORIENTATION, opened, png, tiff
from PIL import Image
from test_images_colour import SPACES, as_seen, light, samples, shares, wide

from qdnet_keras.errors import ImageError, OutputError
from qdnet_keras.photos import colour
from qdnet_keras.photos.files import FORMATS, Photo, read_photo, write_photo

MAKER = 271
UPRIGHT = {  # orientation -> what shows the picture upright
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.rot90(np.fliplr(a)),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(np.fliplr(a), -1),
    8: np.rot90,
}
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
    "heic 16": 2,
    "jxl": 3,
    "jp2 8": 0,
    "jp2 16": 0,
}
CHANNELS = dict.fromkeys(KINDS, (1, 2, 3, 4))
CHANNELS |= {"webp lossless": (3, 4), "webp": (3, 4), "heic": (1, 3, 4), "heic 16": (1, 3, 4)}
CHANNELS["jpg"] = (1, 3)
GREY_GAMMAS = {"adobe": 2.2, "p3": 1.8, "linear": 1.0, None: None}


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
    """A file of `[H, W, channels]` that neither the package nor its way of writing made."""
    format, channels = kind.split()[0], pixels.shape[2]
    exif = exif_of(orientation)
    buffer = io.BytesIO()
    if format == "tif":
        tags = [(MAKER, 2, 0, "Maker", True), (ORIENTATION, 3, 1, orientation, True)]
        options = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
        options |= {"photometric": "rgb" if channels > 2 else "minisblack"}
        options |= {"planarconfig": "contig"} if channels > 1 else {}
        pixels = pixels[..., 0] if channels == 1 else pixels
        return tiff(pixels, iccprofile=icc, extratags=tags, metadata=None, **options)
    if kind == "png 16":
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
        colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
        header = struct.pack(">IIBBBBB", *pixels.shape[1::-1], 16, colour_type, 0, 0, 0)
        chunks = [(b"eXIf", exif.removeprefix(b"Exif\0\0"))]
        chunks += [(b"iCCP", b"p\0\0" + zlib.compress(icc))] if icc else []
        return png(header, zlib.compress(rows), *chunks)
    if format == "heic":
        mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels] + (";16" if kind == "heic 16" else "")
        image = pillow_heif.from_bytes(mode, pixels.shape[1::-1], pixels.tobytes())
        image.info.update(exif=exif, **({"icc_profile": icc} if icc else {}))
        image.save(buffer, quality=95, chroma=444)
        return buffer.getvalue()
    if format == "jp2":
        return jp2_of(pixels, icc, exif)
    if kind == "jxl" and icc:  # its encoders know no profile but that of a JPEG
        return imagecodecs.jpegxl_encode_jpeg(file_of("jpg", pixels, icc, orientation))
    name = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "avif": "AVIF", "jxl": "JXL"}[format]
    options = {
        "jpg": {"quality": 98, "subsampling": 0},
        "webp lossless": {"lossless": True, "exact": True},
        "webp": {"quality": 98},
        "avif": {"quality": 98, "subsampling": "4:4:4"},
        "jxl": {"lossless": True},
    }.get(kind, {})
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    image.save(buffer, name, icc_profile=icc, exif=exif, **options)
    return buffer.getvalue()


def jp2_of(pixels: np.ndarray, icc: bytes | None, exif: bytes) -> bytes:
    """JPEG 2000 whose box of colours holds a profile, and its EXIF at the end."""
    samples = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    data = bytes(imagecodecs.jpeg2k_encode(samples, codecformat="jp2", reversible=True))
    if icc:
        header, colours = data.index(b"jp2h") - 4, data.index(b"colr") - 4
        (size,) = struct.unpack_from(">I", data, colours)
        box = struct.pack(">I4sBBB", 11 + len(icc), b"colr", 2, 0, 0) + icc
        (whole,) = struct.unpack_from(">I", data, header)
        grown = data[:colours] + box + data[colours + size :]
        size_field = struct.pack(">I", whole + len(box) - size)
        data = grown[:header] + size_field + grown[header + 4 :]
    content = b"uuidJpgTiffExif->JP2" + exif.removeprefix(b"Exif\0\0")
    return data + struct.pack(">I", 4 + len(content)) + content


def twin_of(upright: np.ndarray, space: str | None) -> np.ndarray:
    """What is seen of 0..1 `[H, W, channels]`: sRGB 0..1 by definitions, over mid grey."""
    channels = upright.shape[2]
    grey, transparent = channels < 3, channels in (2, 4)
    colours = np.repeat(upright[..., :1], 3, axis=2) if grey else upright[..., :3]
    if space and grey:
        colours = samples(light(colours, GREY_GAMMAS[space]), None)
    elif space:
        colours = as_seen(colours, space)
    opacity = upright[..., -1:] if transparent else 1.0
    return colours * opacity + 0.5 * (1 - opacity)


@pytest.mark.parametrize("space", [None, *SPACES])
@pytest.mark.parametrize("kind", KINDS)
def test_any_photograph_is_seen_as_its_twin_and_keeps_what_it_has(tmp_path, kind, space):
    """Every channel layout that kind and profile can have, each kind in every orientation."""
    depth = 16 if "16" in kind else 8
    first = [*SPACES, None].index(space)
    for channels, half in itertools.product(CHANNELS[kind], (0, 4)):
        orientation = 1 + (first + channels) % 4 + half
        if channels < 3 and space not in GREY_GAMMAS:
            continue
        if kind == "jxl" and space and channels != 3:
            continue  # no encoder makes one
        icc = wide(space) if space else None
        if space and channels < 3:
            icc = colour.grey_profile(GREY_GAMMAS[space])
        pixels = pixels_of(channels * 8 + orientation, channels, depth)
        photo = read_photo(file_of(kind, pixels, icc, orientation))
        # JPEG XL turns by its own header; of its encoders that of JPEGs alone writes it
        is_upright = kind == "jxl" and not icc
        upright = shares(pixels if is_upright else UPRIGHT[orientation](pixels))
        twin = twin_of(upright, space)
        assert (photo.depth, photo.notes) == (depth, ())
        assert photo.grey == (channels < 3 and (kind != "avif" or icc is not None))
        distance = np.abs(shares(photo.srgb) - np.rint(twin * (2**depth - 1)) / (2**depth - 1))
        assert distance.mean() < (0.1 + KINDS[kind]) / 255
        if KINDS[kind] == 0:
            assert distance.max() < 1.01 / 255

        same = photo.with_rendered(photo.srgb)
        np.testing.assert_array_equal(same.pixels, photo.pixels)
        path = tmp_path / f"out.{kind.split()[0]}"
        notes = write_photo(same, path, force=True)
        assert notes == notes_of(kind, space, photo.grey)
        again = read_photo(path)
        assert again.pixels.shape == photo.pixels.shape == (*upright.shape[:2], 3)
        assert (again.format, again.depth) == (photo.format, photo.depth)
        if not notes and kind != "jxl":  # which describes its colours in its own words
            assert again.icc == photo.icc
        before, after = (photo.srgb, again.srgb) if notes else (photo.pixels, again.pixels)
        assert np.abs(shares(after) - shares(before)).mean() <= KINDS[kind] / 255
        assert (again.alpha is None) == (photo.alpha is None) == (channels in (1, 3))
        if photo.alpha is not None:
            np.testing.assert_allclose(shares(photo.alpha), upright[..., -1], atol=2 / 255)
            np.testing.assert_allclose(shares(again.alpha), shares(photo.alpha), atol=2 / 255)
        assert (again.exif or b"").count(b"Maker") == (photo.exif or b"").count(b"Maker")
        assert photo.exif or (kind == "jxl" and icc)
        assert not again.turned


def notes_of(kind: str, space: str | None, grey: bool) -> tuple[str, ...]:
    """What writing the kind again says: JPEG XL takes no profile here, AVIF no grey one."""
    if space and (kind == "jxl" or (kind == "avif" and grey)):
        name = {"jxl": "JPEG XL", "avif": "AVIF"}[kind]
        return (f"converted to sRGB: {name} is written without its profile",)
    return ()


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


def test_grey_with_alpha_becomes_rgb_in_heic(tmp_path):
    photo = read_photo(file_of("png 8", pixels_of(9, 2, 8), None, 1))
    assert photo.grey
    assert write_photo(photo, tmp_path / "out.heic") == ()
    again = read_photo(tmp_path / "out.heic")
    assert np.abs(shares(again.srgb) - shares(photo.srgb)).mean() < 2 / 255
    np.testing.assert_allclose(shares(again.alpha), shares(photo.alpha), atol=2 / 255)


def test_alpha_is_never_dropped(tmp_path):
    photo = Photo(pixels_of(6, 3, 8), pixels_of(7, 1, 8)[..., 0], False, "PNG")
    with pytest.raises(OutputError, match="alpha"):
        write_photo(photo, tmp_path / "out.jpg")


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_of_jpeg_2000_is_named_and_may_be_multiplied_in(tmp_path, channels):
    pixels = pixels_of(6, channels, 8)
    photo = read_photo(file_of("png 8", pixels, None, 1))
    path = tmp_path / "out.jp2"
    write_photo(photo, path)
    with opened(path) as image:
        np.testing.assert_array_equal(image, pixels)
    straight = path.read_bytes()
    last_colour = struct.pack(">3H", channels - 2, 0, channels - 1)
    alpha = {kind: last_colour + struct.pack(">3H", channels - 1, kind, 0) for kind in (1, 2)}
    assert straight.count(alpha[1]) == 1
    multiplied = straight.replace(alpha[1], alpha[2])
    opaque = pixels[..., -1] > 0
    quotient = np.minimum(np.rint(pixels[..., :-1] * 255.0 / np.maximum(pixels[..., -1:], 1)), 255)
    expected = np.broadcast_to(quotient, photo.pixels.shape)[opaque]
    assert np.abs(read_photo(multiplied).pixels[opaque] - expected).max() <= 1


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_told_by_content_and_cut_files_end_in_a_sentence(tmp_path, name):
    path = tmp_path / f"a{FORMATS[name].suffixes[0]}"
    write_photo(Photo(pixels_of(8, 3, 8), None, False, "PNG"), path)
    data = path.read_bytes()
    assert read_photo(data).format == name
    for size in (16, len(data) // 3, len(data) * 2 // 3):
        with pytest.raises(ImageError, match=r"^it\.x [^\n]*\.$"):
            read_photo(data[:size], "it.x")


def test_the_documents_list_every_suffix():
    text = (Path(__file__).parents[1] / "docs" / "photographs.md").read_text()
    for format in FORMATS.values():
        for suffix in format.suffixes:
            assert f"`{suffix}`" in text
