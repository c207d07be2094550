"""Scenes that say their primaries, encoding, order or exposure: the same light, whatever the file.

Pictures are made by other libraries, or by hand after the definition of the format.
"""

from pathlib import Path

import imagecodecs
import numpy as np
import OpenEXR
import pytest
import tifffile
from PIL import Image
from skimage.color.colorconv import xyz_from_rgb

from qdnet_keras.errors import ImageError
from qdnet_keras.synthesis.hdr import read_scene
from qdnet_keras.synthesis.light import encode
from qdnet_keras.synthesis.primaries import change_to_bt709, to_bt709
from qdnet_keras.synthesis.scenes import find_sources

DATA = Path(__file__).parent / "data" / "hdr"
PROPHOTO = (0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001, 0.3457, 0.3585)


def radiance(height: int = 20, width: int = 30) -> np.ndarray:
    y, x = np.mgrid[:height, :width] / 9
    light = 5 * (np.sin(x) + np.cos(1.3 * y)) / 2
    colour = np.stack([np.sin(3 * y), np.cos(x + y), np.sin(2 * x)], axis=-1)
    return (2.0 ** (light[..., None] + 0.3 * colour)).astype(np.float32)


def write_hdr(path: Path, values: np.ndarray, fields: str = "", axes: str = "-Y +X") -> Path:
    """A Radiance file with `values` as they are stored, [lines, length, 3], in new run lengths."""
    lines, length = values.shape[:2]
    coded = imagecodecs.rgbe_encode(np.ascontiguousarray(values, np.float32), header=True)
    pixels = coded[coded.index(b"+X %d\n" % length) + len(b"+X %d\n" % length) :]
    first, second = axes.split()
    header = f"#?RADIANCE\n{fields}\n{first} {lines} {second} {length}\n"
    path.write_bytes(header.encode() + pixels)
    return path


def assert_close(got: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Within a share of each pixel's largest value: mantissas have 8 bits and one exponent."""
    assert got.shape == expected.shape
    largest = expected.max(axis=-1, keepdims=True)
    assert (np.abs(got - expected) <= tolerance * largest).all()


@pytest.mark.parametrize("axes", ["-Y +X", "-Y -X", "+Y +X", "+Y -X"])
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("fields", ["FORMAT=32-bit_rle_rgbe\n", "SOFTWARE=none\n", ""])
def test_radiance_of_all_axis_orders(tmp_path, axes, columns, fields):
    rgb = radiance()
    stored = rgb[:: 1 if "-Y" in axes else -1, :: 1 if "+X" in axes else -1]
    if columns:
        axes, stored = " ".join(reversed(axes.split())), stored.swapaxes(0, 1)
    assert_close(read_scene(write_hdr(tmp_path / "a.hdr", stored, fields, axes)), rgb, 0.01)


def test_radiance_xyz(tmp_path):
    rgb = radiance()
    path = write_hdr(tmp_path / "a.hdr", rgb @ xyz_from_rgb.T, "FORMAT=32-bit_rle_xyze\n")
    assert_close(read_scene(path), rgb, 0.05)


def test_radiance_primaries(tmp_path):
    """The stated white becomes white; the matrix is that of published ones in a row."""
    rows = "PRIMARIES=" + " ".join(map(str, PROPHOTO)) + "\n"
    rgb = np.full((20, 30, 3), 0.5, np.float32) * np.linspace(1, 2, 30)[:, None]
    got = read_scene(write_hdr(tmp_path / "a.hdr", rgb.astype(np.float32), rows))
    assert_close(got, rgb, 0.01)
    # ProPhoto (D50) to XYZ, Bradford to D65, XYZ to sRGB: the product of Lindbloom's matrices
    lindbloom = [[2.0341926, -0.7274198, -0.3067655], [-0.2288108, 1.2317292, -0.0029216]]
    lindbloom.append([-0.0085649, -0.1532726, 1.1618390])
    change = change_to_bt709(np.array(PROPHOTO).reshape(4, 2))
    np.testing.assert_allclose(change, lindbloom, atol=2e-3)


def test_colours_out_of_gamut_are_no_faults(tmp_path):
    greens = np.tile(np.array([[[0.1, 1, 0.1]]], np.float32), (20, 30, 1)) * radiance()
    rows = "PRIMARIES=" + " ".join(map(str, PROPHOTO)) + "\n"
    assert read_scene(write_hdr(tmp_path / "a.hdr", greens, rows)).min() == 0


def test_radiance_colour_correction(tmp_path):
    rgb = radiance()
    fields = "COLORCORR=1.25 1 0.8\nCOLORCORR= 1 1 0.9\nEXPOSURE=1\n"
    path = write_hdr(tmp_path / "a.hdr", rgb * np.array([1.25, 1, 0.72], np.float32), fields)
    assert_close(read_scene(path), rgb, 0.02)


def test_radiance_old_run_lengths_by_hand(tmp_path):
    """Four bytes a pixel; 1, 1, 1, n repeats; a second repeat in a row counts 256."""
    first, second = bytes([128, 64, 32, 129]), bytes([200, 100, 50, 130])
    runs = first + bytes([1, 1, 1, 3]) + second + bytes([1, 1, 1, 35]) + bytes([1, 1, 1, 1])
    path = tmp_path / "old.hdr"
    path.write_bytes(b"#?RADIANCE\n\n-Y 4 +X 74\n" + runs)
    got = read_scene(path).reshape(-1, 3)
    np.testing.assert_array_equal(got[:4], [[1, 0.5, 0.25]] * 4)
    np.testing.assert_array_equal(got[4:], [[3.125, 1.5625, 0.78125]] * 292)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ImageError, match="lacks a part of its pixels"):
        read_scene(path)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("#?RADIANCE\nFORMAT=32-bit_rle_other\n\n-Y 8 +X 8\n", "format 32-bit_rle_other"),
        ("#?RADIANCE\n\n-Y 8 +Y 8\n", "resolution"),
        ("#?RADIANCE\n\n8 8\n", "resolution"),
        ("#?RADIANCE\nPRIMARIES=1 2 3\n\n-Y 8 +X 8\n", "'1 2 3' in its header is not 8"),
        ("#?RADIANCE\n\n-Y 80000 +X 80000\n", "80000x80000 pixels"),
        ("P6\n\n-Y 8 +X 8\n", "does not begin as a Radiance"),
    ],
)
def test_radiance_headers_that_cannot_be_used(tmp_path, header, words):
    path = tmp_path / "a.hdr"
    path.write_bytes(header.encode() + bytes(64))
    with pytest.raises(ImageError, match=words):
        read_scene(path)


def exr(path: Path, *parts: dict[str, np.ndarray], **header: object) -> Path:
    stored = []
    for number, channels in enumerate(parts):
        head = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **header}
        stored.append(OpenEXR.Part(head, channels, f"part{number}"))
    OpenEXR.File(stored).write(str(path))
    return path


def layer(rgb: np.ndarray, prefix: str = "") -> dict[str, np.ndarray]:
    return {f"{prefix}{c}": np.ascontiguousarray(rgb[..., i]) for i, c in enumerate("RGB")}


def test_exr_parts_and_layers(tmp_path):
    rgb, other = radiance(), radiance()[::-1]
    depth = {"Z": np.ascontiguousarray(rgb[..., 0])}
    for number, parts in enumerate(
        [
            (depth, layer(rgb)),
            ({**depth, **layer(rgb, "left.view.")},),
            ({**layer(rgb, "ViewLayer.Combined."), **layer(other, "ViewLayer.Emit.")},),
            ({**layer(other, "glow."), **layer(rgb)},),
            (layer(other, "glow."), layer(rgb)),
        ]
    ):
        path = exr(tmp_path / f"{number}.exr", *parts)
        np.testing.assert_array_equal(read_scene(path), rgb, err_msg=str(number))
    several = exr(tmp_path / "s.exr", {**layer(rgb, "day."), **layer(other, "night.")})
    with pytest.raises(ImageError, match=r"layers day, night; save the one"):
        read_scene(several)


def test_exr_chromaticities(tmp_path):
    rgb = radiance()
    path = exr(tmp_path / "a.exr", layer(rgb), chromaticities=PROPHOTO)
    np.testing.assert_allclose(read_scene(path), to_bt709(rgb, np.array(PROPHOTO)), rtol=1e-6)
    stated = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)
    path = exr(tmp_path / "b.exr", layer(rgb), chromaticities=stated)
    np.testing.assert_array_equal(read_scene(path), rgb)


def test_exr_display_window(tmp_path):
    rgb = radiance(20, 30)
    corner = np.array([0, 0], np.int32), np.array([29, 19], np.int32)
    for name, (left, top, right, bottom), expected in (
        ("in", (5, 3, 24, 12), rgb[3:13, 5:25]),
        ("around", (-10, -10, 50, 50), rgb),
        ("across", (-10, 8, 9, 50), rgb[8:, :10]),
    ):
        window = np.array([left, top], np.int32), np.array([right, bottom], np.int32)
        path = exr(tmp_path / f"{name}.exr", layer(rgb), dataWindow=corner, displayWindow=window)
        np.testing.assert_array_equal(read_scene(path), expected, err_msg=name)


@pytest.mark.parametrize("name", ["gamma22_icc", "linear_prophoto_icc"])
def test_tiff_profiles(name):
    """One picture thrice, saved by another program; the gamma's is scaled to its maximum."""
    reference = read_scene(DATA / "linear_reference.tif")
    got = read_scene(DATA / f"{name}.tif")
    seen = reference > 0.02
    scale = np.median(reference[seen] / got[seen])
    if name == "linear_prophoto_icc":
        assert scale == pytest.approx(1, abs=2e-3)
    assert np.median(np.abs(got * scale / reference - 1)[seen]) < 2e-3
    assert_close(got * scale, reference, 0.02)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_orientation_is_pillows(tmp_path, orientation):
    from PIL import ImageOps

    rgb = radiance(8, 12)
    tags = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", rgb, photometric="rgb", extratags=tags)
    turned = []
    for channel in range(3):
        plane = Image.fromarray(rgb[..., channel])
        plane.getexif()[274] = orientation
        turned.append(np.asarray(ImageOps.exif_transpose(plane)))
    np.testing.assert_array_equal(read_scene(tmp_path / "a.tif"), np.stack(turned, axis=-1))


def bracket(folder: Path, settings: list[dict[int, float]], suffix: str = "png") -> np.ndarray:
    """Photographs with these EXIF tags, exposed as time × ISO / aperture² says; their light."""
    folder.mkdir()
    y, x = np.mgrid[:170, :200] / 40
    rgb = 2.0 ** (4 * (np.sin(x) + np.cos(1.3 * y)) / 2)[..., None] * np.array([1.2, 1, 0.9])
    rgb = rgb * 2.0 ** np.random.default_rng(2).normal(0, 0.1, (170, 200, 1))
    for number, tags in enumerate(settings):
        light = tags.get(0x829A, 1) * tags.get(0x8827, 100) / 100 / tags.get(0x829D, 1) ** 2
        pixels = np.round(255 * encode(rgb * light)).astype(np.uint8)
        if suffix == "tif":
            stored = [
                (tag, "H", 1, value, True)
                if tag == 0x8827
                else (tag, "2I", 1, (round(1000 * value), 1000), True)
                for tag, value in sorted(tags.items())
            ]
            wide = pixels * np.uint16(257)
            tifffile.imwrite(
                folder / f"{number}.tif", wide, photometric="rgb", metadata=None, extratags=stored
            )
            continue
        image = Image.fromarray(pixels)
        exif = image.getexif()
        exif[0x8769] = tags
        image.save(folder / f"{number}.png", exif=exif)
    return rgb


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(
    "settings",
    [
        [{0x829A: 0.1, 0x8827: 100}, {0x829A: 0.2, 0x8827: 400}, {0x829A: 0.4, 0x8827: 1600}],
        [{0x829A: 0.05, 0x8827: iso} for iso in (100, 6400, 1600, 400)],
        [{0x829A: 1.0, 0x829D: 4.0}, {0x829A: 1.0, 0x829D: 1.0}, {0x829A: 1.0, 0x829D: 2.0}],
    ],
    ids=["iso and time", "iso", "aperture"],
)
def test_stacks_by_iso_and_aperture(tmp_path, settings, suffix):
    rgb = bracket(tmp_path / "stack", settings, suffix)
    assert find_sources(tmp_path) == {"stack": tmp_path / "stack"}
    ratio = np.log2(read_scene(tmp_path / "stack")[..., 1]) - np.log2(rgb[..., 1])
    assert np.ptp(np.percentile(ratio, [5, 95])) < 0.6  # stops, over a range of 6


def test_stacks_that_tell_too_little(tmp_path):
    bracket(tmp_path / "some", [{0x829A: 0.1, 0x8827: 100}, {0x829A: 0.2}])
    with pytest.raises(ImageError, match=r"1\.png has no ISO in its EXIF; list"):
        read_scene(tmp_path / "some")
    bracket(tmp_path / "same", [{0x829A: 0.1, 0x8827: 200}, {0x829A: 0.2, 0x8827: 100}])
    with pytest.raises(ImageError, match="different exposures"):
        read_scene(tmp_path / "same")
    for suffix in ("png", "tif"):
        bracket(tmp_path / f"none{suffix}", [{}, {}], suffix)
        with pytest.raises(ImageError, match="has no exposure time"):
            read_scene(tmp_path / f"none{suffix}")
