"""Colour profiles: photographs look the same whatever encoding their files have."""

import struct
import zlib
from functools import partial

import numpy as np
import pytest
from photo_files import SRGB, encoded, opened, png, tiff
from PIL import Image

from qdnet_keras.errors import ImageError
from qdnet_keras.photos import colour
from qdnet_keras.photos.files import read_photo, write_photo

D65 = (0.3127, 0.3290)
SPACES = {  # x, y of red, green, blue, white; curve from samples to light
    "adobe": ((0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *D65), 563 / 256),
    "p3": ((0.68, 0.32, 0.265, 0.69, 0.15, 0.06, *D65), None),
    "rec2020": ((0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *D65), 2.4),
    "prophoto": ((0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001, 0.3457, 0.3585), 1.8),
    "linear": ((0.64, 0.33, 0.30, 0.60, 0.15, 0.06, *D65), 1.0),
}
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
# LittleCMS takes a quick way of 15 bits for 8-bit files, then they are rounded.
NEAR = {8: (0.35 + 0.5) / 255, 16: 0.12 / 255}


def xyz_of(xy: tuple[float, ...]) -> np.ndarray:
    x, y = xy
    return np.array([x / y, 1, (1 - x - y) / y])


def to_xyz(chromaticities: tuple[float, ...]) -> np.ndarray:
    """The matrix from linear RGB to XYZ under D65."""
    points = np.array([xyz_of(chromaticities[at : at + 2]) for at in (0, 2, 4)]).T
    white = xyz_of(chromaticities[6:])
    matrix = points * np.linalg.solve(points, white)
    cones = BRADFORD @ xyz_of(D65) / (BRADFORD @ white)
    return np.linalg.inv(BRADFORD) @ np.diag(cones) @ BRADFORD @ matrix


def light(samples: np.ndarray, gamma: float | None) -> np.ndarray:
    if gamma is not None:
        return samples**gamma
    return np.where(samples <= 0.04045, samples / 12.92, ((samples + 0.055) / 1.055) ** 2.4)


def samples(light: np.ndarray, gamma: float | None) -> np.ndarray:
    light = np.clip(light, 0, 1)
    if gamma is not None:
        return light ** (1 / gamma)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def as_seen(pixels: np.ndarray, space: str) -> np.ndarray:
    """sRGB 0..1 of samples 0..1, by the definition of the space."""
    chromaticities, gamma = SPACES[space]
    matrix = np.linalg.inv(to_xyz(SPACES["linear"][0])) @ to_xyz(chromaticities)
    return samples(light(pixels, gamma) @ matrix.T, None)


def scene(height: int = 40, width: int = 48, depth: int = 8) -> np.ndarray:
    """Smooth colours of all hues, some beyond sRGB in the wide spaces, and steps of grey."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height - 1, width - 1]).reshape(2, 1, 1)
    waves = np.stack([np.sin(5 * x + 3 * y + phase) for phase in (0, 2, 4)], -1) / 2 + 0.5
    waves[: height // 4] = x[: height // 4, :, None]
    top = 2**depth - 1
    return np.rint(waves * top).astype(np.uint8 if depth == 8 else np.uint16)


def shares(pixels: np.ndarray) -> np.ndarray:
    """0..1 as float64."""
    return pixels / np.iinfo(pixels.dtype).max


def wide(space: str) -> bytes:
    return colour.primaries_profile(*SPACES[space])


def in_file(suffix: str, pixels: np.ndarray, icc: bytes | None) -> bytes:
    if suffix == "tif":
        return tiff(pixels, photometric="rgb", iccprofile=icc)
    if suffix == "png" and pixels.dtype == np.uint16:
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
        header = struct.pack(">IIBBBBB", *pixels.shape[1::-1], 16, 2, 0, 0, 0)
        chunk = (b"iCCP", b"p\0\0" + zlib.compress(icc)) if icc else (b"sRGB", b"\0")
        return png(header, zlib.compress(rows), chunk)
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}
    name = {"jpg": "JPEG"}.get(suffix, suffix.upper())
    return encoded(name, pixels, icc_profile=icc, **options.get(suffix, {}))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("suffix", "depth"), [("png", 8), ("png", 16), ("tif", 16), ("webp", 8)])
def test_the_model_sees_what_the_profile_says(space, suffix, depth):
    pixels = scene(depth=depth)
    photo = read_photo(in_file(suffix, pixels, wide(space)))
    np.testing.assert_array_equal(photo.pixels, pixels)
    assert photo.srgb.dtype == pixels.dtype
    expected = as_seen(pixels / (2**depth - 1), space)
    np.testing.assert_allclose(shares(photo.srgb), expected, atol=NEAR[depth])


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("space", SPACES)
def test_a_change_is_what_the_eye_sees_and_comes_back_in_the_profile(tmp_path, space, depth):
    top = 2**depth - 1
    photo = read_photo(in_file("tif", scene(depth=depth), wide(space)))
    change = np.where(np.arange(48) < 24, 0, round(0.045 * top))[:, None]
    rendered = np.clip(photo.srgb + change, 0, top)
    changed = photo.with_rendered(rendered.astype(photo.srgb.dtype))
    write_photo(changed, tmp_path / "out.tif")
    again = read_photo(tmp_path / "out.tif")
    assert (again.icc, again.depth) == (photo.icc, depth)
    np.testing.assert_array_equal(again.pixels[:, :24], photo.pixels[:, :24])
    seen = shares(photo.srgb)
    inside = np.all((seen > 0.02) & (seen < 0.92), axis=-1)
    inside[:, :24] = False
    assert inside.sum() > 100
    shown, below, above = (
        as_seen(np.clip(again.pixels / top + offset, 0, 1), space)[inside]
        for offset in (0, -0.5 / top, 0.5 / top)
    )
    rounding = np.maximum(np.abs(below - shown), np.abs(above - shown))  # a linear file's is large
    assert (np.abs(shown - rendered[inside] / top) <= 2 * rounding + 1e-3 + NEAR[depth]).all()


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_an_unchanged_photo_is_the_same_to_the_last_bit(tmp_path, suffix):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (64, 80, 3), np.uint8)  # most colours are beyond sRGB
    photo = read_photo(in_file(suffix, pixels, wide("prophoto")))
    same = photo.with_rendered(photo.srgb)
    write_photo(same, tmp_path / f"out.{suffix}")
    with opened(tmp_path / f"out.{suffix}") as stored:
        np.testing.assert_array_equal(np.asarray(stored), pixels)
        assert stored.info["icc_profile"] == wide("prophoto")


def test_colours_beyond_srgb_move_with_the_change_and_stay_beyond():
    pixels = np.full((32, 32, 3), (20, 200, 30), np.uint8)
    photo = read_photo(in_file("png", pixels, wide("rec2020")))
    assert photo.srgb[0, 0, 0] == 0
    brighter = np.minimum(photo.srgb, 239) + np.uint8(16)
    changed = photo.with_rendered(brighter).pixels[0, 0].astype(int)
    assert (changed >= pixels[0, 0]).all()
    assert changed[1] > 200
    assert (
        colour.to_srgb(changed.reshape(1, 1, 3) / np.float32(255), wide("rec2020"), np.float32)[
            0, 0, 0
        ]
        < 0
    )


@pytest.mark.parametrize("gamma", [1.0, 2.2])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_grey_profiles(tmp_path, gamma, suffix):
    ramp = np.repeat(np.arange(0, 256, 4, np.uint8)[None], 40, axis=0)
    Image.fromarray(ramp).save(tmp_path / f"in.{suffix}", icc_profile=colour.grey_profile(gamma))
    photo = read_photo(tmp_path / f"in.{suffix}")
    assert photo.grey
    expected = samples((photo.pixels / 255.0) ** gamma, None)
    np.testing.assert_allclose(photo.srgb / 255, expected, atol=0.52 / 255)
    darker = (photo.srgb * 0.8).astype(np.uint8)
    write_photo(photo.with_rendered(darker), tmp_path / "out.webp")
    shown = read_photo(tmp_path / "out.webp").srgb
    assert np.abs(shown.astype(int) - darker).max() < 4  # lossy


def test_profiles_that_say_srgb_change_nothing():
    for icc in (SRGB, None):
        photo = read_photo(encoded("PNG", scene(), icc_profile=icc))
        assert photo.is_srgb
        assert photo.srgb is photo.pixels


@pytest.mark.parametrize("icc", [b"no profile", SRGB[:200], colour.grey_profile(1.8)])
def test_profiles_that_do_not_fit_are_told(icc):
    photo = read_photo(encoded("PNG", scene(), icc_profile=icc))
    assert photo.is_srgb
    assert photo.notes == ("the colour profile is damaged or does not fit; taken as sRGB",)


# --- what files say without a profile -------------------------------------------------------------


def chunked(*chunks: tuple[bytes, bytes], pixels: np.ndarray | None = None) -> bytes:
    pixels = scene() if pixels is None else pixels
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    colour_type = 2 if pixels.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", *pixels.shape[1::-1], 8, colour_type, 0, 0, 0)
    return png(header, zlib.compress(rows), *chunks)


def gama(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(value * 1e5))


def chrm(space: str) -> tuple[bytes, bytes]:
    *points, x, y = SPACES[space][0]
    return b"cHRM", struct.pack(">8I", *(round(value * 1e5) for value in (x, y, *points)))


@pytest.mark.parametrize(
    ("chunks", "space"),
    [
        ([gama(256 / 563), chrm("adobe")], "adobe"),
        ([gama(1)], "linear"),
        ([gama(1), chrm("linear")], "linear"),
        ([(b"cICP", bytes([12, 13, 0, 1]))], "p3"),
        ([(b"cICP", bytes([1, 8, 0, 1]))], "linear"),
        ([gama(1), (b"cICP", bytes([12, 13, 0, 1]))], "p3"),
        ([gama(1), (b"iCCP", b"p\0\0" + zlib.compress(wide("prophoto")))], "prophoto"),
        ([gama(1), (b"sRGB", b"\0")], None),
        ([gama(0.45455), chrm("linear")], None),
        ([gama(0)], None),
    ],
)
def test_png_chunks_say_how_samples_are_shown(tmp_path, chunks, space):
    data = chunked(*chunks)
    photo = read_photo(data)
    expected = scene() / 255 if space is None else as_seen(scene() / 255, space)
    np.testing.assert_allclose(photo.srgb / 255, expected, atol=NEAR[8])
    for suffix in ("png", "tif"):
        write_photo(photo, tmp_path / f"out.{suffix}")
        again = read_photo(tmp_path / f"out.{suffix}")
        np.testing.assert_array_equal(again.pixels, scene())
        np.testing.assert_array_equal(again.srgb, photo.srgb)


def test_gamma_of_a_grey_png():
    photo = read_photo(chunked(gama(1), pixels=scene()[..., 0]))
    expected = samples(scene()[..., :1] / 255.0, None)
    np.testing.assert_allclose(photo.srgb / 255, np.repeat(expected, 3, 2), atol=0.52 / 255)


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_encodings_are_refused(transfer, name):
    with pytest.raises(ImageError, match=rf"HDR picture \({name}\); tone-map it first"):
        read_photo(chunked((b"cICP", bytes([9, transfer, 0, 1]))))
    with_tag = bytearray(wide("rec2020"))
    at = with_tag.index(b"chrm", 128)
    with_tag[at : at + 4] = b"cicp"
    (where,) = struct.unpack_from(">I", with_tag, at + 4)
    with_tag[where : where + 12] = b"cicp\0\0\0\0" + bytes([9, transfer, 0, 1])
    with pytest.raises(ImageError, match=name):
        read_photo(encoded("PNG", scene(), icc_profile=bytes(with_tag)))


def exif_saying(colour_space: int, index: str | None) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    nested = exif.get_ifd(0x8769)
    nested[0xA001] = colour_space
    if index:
        nested[0xA005] = {1: index}
    return exif


@pytest.mark.parametrize(
    ("exif", "space"),
    [
        (partial(exif_saying, 2, None), "adobe"),
        (partial(exif_saying, 0xFFFF, "R03"), "adobe"),
        (partial(exif_saying, 0xFFFF, "R98"), None),
        (partial(exif_saying, 1, "R03"), None),
        (partial(exif_saying, 0xFFFF, None), None),
    ],
)
def test_exif_says_adobe_rgb_where_no_profile_does(tmp_path, exif, space):
    photo = read_photo(encoded("PNG", scene(), exif=exif()))
    expected = as_seen(scene() / 255, space) if space else scene() / 255
    np.testing.assert_allclose(photo.srgb / 255, expected, atol=NEAR[8])
    with_profile = read_photo(encoded("PNG", scene(), exif=exif(), icc_profile=wide("linear")))
    linear = as_seen(scene() / 255, "linear")
    np.testing.assert_allclose(with_profile.srgb / 255, linear, atol=NEAR[8])
    write_photo(photo, tmp_path / "out.jpg")
    assert read_photo(tmp_path / "out.jpg").icc == photo.icc


# --- alpha ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("icc", [None, wide("prophoto")])
def test_what_is_transparent_is_seen_as_mid_grey_and_stays_as_it_is(icc):
    opaque = scene()
    alpha = np.zeros(opaque.shape[:2], np.uint8)
    alpha[:20], alpha[20:30] = 255, 128
    photo = read_photo(encoded("PNG", np.dstack([opaque, alpha]), icc_profile=icc))
    seen = shares(photo.srgb)
    shown = as_seen(opaque / 255, "prophoto") if icc else opaque / 255
    expected = shown * (alpha / 255)[..., None] + 0.5 * (1 - alpha / 255)[..., None]
    np.testing.assert_allclose(seen, expected, atol=NEAR[8])
    changed = photo.with_rendered(np.iinfo(photo.srgb.dtype).max - photo.srgb)
    np.testing.assert_array_equal(changed.alpha, alpha)
    np.testing.assert_array_equal(changed.pixels[30:], opaque[30:])
    assert (changed.pixels[:20] != opaque[:20]).mean() > 0.9
