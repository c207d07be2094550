"""HDR files, exposure stacks and panoramas: real files, closed forms, clear errors."""

from pathlib import Path

import imagecodecs
import numpy as np
import OpenEXR
import pytest
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter

from qdnet_keras.errors import DataError, ImageError
from qdnet_keras.synthesis.exposures import align
from qdnet_keras.synthesis.hdr import mend, normalise, read_scene, shrink, write_exr
from qdnet_keras.synthesis.light import encode, key, luminance
from qdnet_keras.synthesis.panorama import View, cut_view, draw_views, is_panorama, panorama_width
from qdnet_keras.synthesis.scenes import find_sources, scenes_of

SAMPLES = Path(__file__).parents[1] / "qdnet_keras" / "samples" / "hdr"


def radiance(height: int = 170, width: int = 200, stops: float = 12) -> np.ndarray:
    """Smooth light over `stops`, with colour and texture."""
    y, x = np.mgrid[:height, :width] / 40
    log = stops / 4 * (np.sin(x) + np.cos(1.3 * y))[..., None] + np.array([0.3, 0.0, -0.2])
    random = np.random.default_rng(2)
    return (2.0 ** (log + 0.1 * random.normal(size=(height, width, 1)))).astype(np.float32)


def exr(path: Path, channels: dict) -> Path:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, channels) as file:
        file.write(str(path))
    return path


def write(path: Path, rgb: np.ndarray) -> Path:
    if path.suffix == ".exr":
        exr(path, {"RGB": rgb})
    elif path.suffix == ".hdr":
        path.write_bytes(imagecodecs.rgbe_encode(rgb, header=True))
    else:
        tifffile.imwrite(path, rgb, photometric="rgb")
    return path


@pytest.mark.parametrize(("name", "tolerance"), [("a.exr", 0), ("a.hdr", 0.01), ("a.tif", 0)])
def test_formats(tmp_path, name, tolerance):
    rgb = radiance()
    got = read_scene(write(tmp_path / name, rgb))
    assert got.dtype == np.float32
    largest = rgb.max(axis=-1, keepdims=True)
    assert (np.abs(got - rgb) <= tolerance * largest).all()


def test_radiance_files_agree_with_another_reader(tmp_path):
    import cv2

    path = write(tmp_path / "a.hdr", radiance())
    expected = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]
    np.testing.assert_allclose(read_scene(path), expected, rtol=1e-6)


def test_kinds_of_exr_and_tiff(tmp_path):
    rgb = radiance()
    alpha = np.ones((*rgb.shape[:2], 1), np.float32)
    rgba = np.concatenate([rgb, alpha], axis=-1)
    half = rgb.astype(np.float16)
    grey = np.ascontiguousarray(rgb[..., 0])
    planes = np.ascontiguousarray(np.moveaxis(rgb, -1, 0))
    double = tmp_path / "double.tif"
    tifffile.imwrite(double, rgb.astype(np.float64), photometric="rgb")
    planar = tmp_path / "planar.tif"
    tifffile.imwrite(planar, planes, photometric="rgb", planarconfig="separate")
    for path, expected in (
        (exr(tmp_path / "rgba.exr", {"RGBA": rgba}), rgb),
        (exr(tmp_path / "half.exr", {"RGB": half}), half.astype(np.float32)),
        (exr(tmp_path / "y.exr", {"Y": grey}), np.repeat(grey[..., None], 3, -1)),
        (double, rgb),
        (planar, rgb),
    ):
        np.testing.assert_array_equal(read_scene(path), expected, err_msg=path.name)


def spoilt(value: float, share: float = 1e-4) -> np.ndarray:
    rgb = radiance()
    count = max(1, round(share * rgb.shape[0] * rgb.shape[1]))
    rgb.reshape(-1, 3)[:count, 1] = value
    return rgb


@pytest.mark.parametrize("suffix", [".exr", ".tif"])
@pytest.mark.parametrize(
    ("rgb", "words"),
    [
        (spoilt(np.nan), "NaN radiance in 0.00"),
        (spoilt(np.inf), "infinite radiance in"),
        (spoilt(-np.inf), "infinite radiance in"),
        (spoilt(-100.0), "negative radiance in .* down to -100"),
        (spoilt(-1e-4, share=0.05), "negative radiance in 5 %"),
        (-radiance(), "is black"),
        (np.zeros((200, 200, 3), np.float32), "is black"),
        (np.full((200, 200, 3), 3.0, np.float32), "the same radiance everywhere"),
    ],
)
def test_useless_radiance(tmp_path, suffix, rgb, words):
    path = write(tmp_path / f"a{suffix}", rgb)
    with pytest.raises(ImageError, match=rf"a\{suffix} .*{words}"):
        read_scene(path)


def test_few_small_negative_values_are_taken(tmp_path):
    read_scene(write(tmp_path / "a.exr", spoilt(-0.01, share=0.005)))


@pytest.mark.parametrize("name", ["a.exr", "a.hdr", "a.tif"])
@pytest.mark.parametrize("content", [b"", b"rubbish" * 40])
def test_damaged_files(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ImageError, match=f"{name} cannot be read as an HDR picture"):
        read_scene(path)


@pytest.mark.parametrize("name", ["a.exr", "a.hdr", "a.tif"])
def test_files_cut_short(tmp_path, name):
    path = write(tmp_path / name, radiance())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=name):
        read_scene(path)


def test_unfit_files(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        read_scene(tmp_path / "none.exr")
    (tmp_path / "a.bmp").touch()
    with pytest.raises(ImageError, match="no HDR picture by its suffix"):
        read_scene(tmp_path / "a.bmp")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((200, 200, 3), np.uint16), photometric="rgb")
    with pytest.raises(ImageError, match="uint16"):
        read_scene(tmp_path / "a.tif")
    depth = exr(tmp_path / "z.exr", {"Z": radiance()[..., 0].copy()})
    with pytest.raises(ImageError, match="channels Z where R, G, B"):
        read_scene(depth)


def test_written_scenes_read_back(tmp_path):
    rgb = normalise(radiance())
    write_exr(rgb, tmp_path / "a.exr")
    np.testing.assert_allclose(read_scene(tmp_path / "a.exr"), rgb, rtol=1e-3)


def test_normalise():
    rgb = 1e5 * radiance(stops=40)
    got = normalise(rgb)
    assert got.min() == pytest.approx(1e-3)
    assert got.max() == pytest.approx(1e3)
    assert key(normalise(7 * radiance())) == pytest.approx(1, rel=1e-4)


def test_mending_takes_rings_and_leaves_the_rest():
    rgb = radiance(stops=4)
    assert mend(rgb) is rgb
    ringed = rgb.copy()
    ringed[50, 60] = [0.1, -0.01, 0.1]
    ringed[80, 90:93] = 1e-5
    mended = mend(ringed)
    changed = (mended != ringed).any(axis=-1)
    assert set(zip(*np.nonzero(changed), strict=True)) == {(50, 60), (80, 90), (80, 91), (80, 92)}
    sound = ~changed[..., None]
    near = {"sigma": (1, 1, 0), "mode": "mirror"}
    log = gaussian_filter(np.where(sound, np.log(rgb), 0.0), **near)
    expected = np.exp(log / gaussian_filter(sound.astype(float), **near))
    np.testing.assert_allclose(mended[changed], expected[changed], rtol=1e-3)


def test_black_parts_stay_black_when_mended():
    rgb = radiance()
    rgb[:60, :60] = 0
    rgb[100, 100] = -0.01
    assert mend(rgb)[:50, :50].max() == 0
    assert normalise(mend(rgb))[:50, :50].max() == pytest.approx(1e-3)


def test_shrink_keeps_the_mean():
    rgb = radiance(400, 600)
    small = shrink(rgb, 300)
    assert small.shape == (200, 300, 3)
    expected = rgb.mean((0, 1), np.float64)
    np.testing.assert_allclose(small.mean((0, 1), np.float64), expected, rtol=1e-5)
    assert shrink(rgb, 600) is rgb


def direction_panorama(width: int) -> np.ndarray:
    """Radiance e^direction, so that a view tells which way each of its pixels looks."""
    height = width // 2
    longitude = (np.arange(width) + 0.5) / width * 2 * np.pi - np.pi
    latitude = np.pi / 2 - (np.arange(height) + 0.5) / height * np.pi
    longitude, latitude = np.meshgrid(longitude, latitude)
    x, y = np.sin(longitude) * np.cos(latitude), np.sin(latitude)
    return np.exp(np.stack([x, y, np.cos(longitude) * np.cos(latitude)], -1)).astype(np.float32)


@pytest.mark.parametrize("yaw", [0, 90, -170, 350])
def test_views_look_where_they_should(yaw):
    view = cut_view(direction_panorama(1024), View(yaw=yaw, rise=10, fov=90), 200, 160)
    x, y, z = np.log(view).transpose(2, 0, 1)
    np.testing.assert_allclose(x**2 + y**2 + z**2, 1, atol=2e-3)
    azimuth = np.degrees(np.arctan2(x, z)) - yaw
    azimuth = (azimuth + 180) % 360 - 180
    half_pixel = np.degrees(np.arctan(1 / 200))
    assert azimuth[80, 0] == pytest.approx(-45 + half_pixel, abs=0.3)
    assert azimuth[80, -1] == pytest.approx(45 - half_pixel, abs=0.3)
    middle = np.degrees(np.arctan2(y, np.hypot(x, z)))[79:81, 99:101].mean()
    assert middle == pytest.approx(10, abs=0.2)
    assert y[0].min() > y[-1].max()  # upright
    np.testing.assert_allclose(azimuth[10], azimuth[150], atol=0.5)  # verticals stay vertical


def test_a_panorama_is_as_wide_as_its_views_need():
    """One pixel of panorama for one pixel in the middle of the view."""
    width = panorama_width(480, 90)
    one_pixel = 2 * np.tan(np.radians(45)) / 480
    assert 2 * np.pi / width == pytest.approx(one_pixel, rel=1e-2)


def test_views_go_around_and_depend_on_the_draws():
    views = draw_views(4, np.random.default_rng(0))
    assert views == draw_views(4, np.random.default_rng(0))
    assert views != draw_views(4, np.random.default_rng(1))
    np.testing.assert_allclose(np.diff([view.yaw for view in views]), 90)


def bracket(folder: Path, rgb: np.ndarray, times: list[float], *, exif: bool = True) -> None:
    """Photographs of `rgb`, sRGB-encoded and clipped, as a camera would take them."""
    folder.mkdir()
    for index, seconds in enumerate(times):
        pixels = np.round(255 * encode(rgb * seconds)).astype(np.uint8)
        image = Image.fromarray(pixels)
        data = image.getexif()
        if exif:
            data[0x8769] = {0x829A: seconds}
        image.save(folder / f"{index}.png", exif=data)


@pytest.mark.parametrize("listed", [False, True])
def test_exposures_are_merged_to_the_radiance(tmp_path, listed):
    rgb = radiance(stops=9)
    times = [1 / 64, 1 / 16, 1 / 4, 1.0, 4.0]
    folder = tmp_path / "stack"
    bracket(folder, rgb, times, exif=not listed)
    if listed:
        lines = "".join(f"{index}.png {seconds}\n" for index, seconds in enumerate(times))
        (folder / "exposures.txt").write_text(lines)
    merged = read_scene(folder)
    assert merged.shape == rgb.shape
    ratio = np.log2(luminance(merged)) - np.log2(luminance(rgb))
    assert np.ptp(np.percentile(ratio, [5, 95])) < 0.6  # stops, over a range of 9
    assert (
        np.corrcoef(np.log(luminance(merged).ravel()), np.log(luminance(rgb).ravel()))[0, 1] > 0.99
    )


@pytest.mark.parametrize("name", ["interior", "forest", "night"])
def test_a_shaken_stack_is_aligned(name):
    panorama = normalise(mend(read_scene(SAMPLES / f"{name}.exr")))
    rgb = cut_view(panorama, View(20, 0, 90), 500, 400)
    corners = np.array([[12, 3], [0, 22], [19, 11], [7, 30]])
    stack = [
        np.round(255 * encode(rgb[top : top + 340, left : left + 440] * seconds)).astype(np.uint8)
        for seconds, (top, left) in zip([0.05, 0.2, 0.8, 3.2], corners, strict=True)
    ]
    aligned = align(stack)
    common = rgb[19:340, 30:443]  # from the largest corner to the smallest one's end
    for pixels, seconds in zip(aligned, [0.05, 0.2, 0.8, 3.2], strict=True):
        np.testing.assert_array_equal(pixels, np.round(255 * encode(common * seconds)))


def test_strangers_are_not_shifted():
    noise = np.random.default_rng(0).integers(0, 256, (2, 120, 160, 3), np.uint8)
    for pixels, same in zip(align(list(noise)), noise, strict=True):
        np.testing.assert_array_equal(pixels, same)


def test_useless_stacks(tmp_path):
    rgb = radiance()
    bracket(tmp_path / "bare", rgb, [0.1, 1.0], exif=False)
    with pytest.raises(ImageError, match=r"0\.png has no exposure time .* exposures\.txt"):
        read_scene(tmp_path / "bare")
    bracket(tmp_path / "same", rgb, [0.1, 0.1])
    with pytest.raises(ImageError, match="different exposures"):
        read_scene(tmp_path / "same")
    bracket(tmp_path / "sizes", rgb, [0.1, 1.0])
    Image.open(tmp_path / "sizes" / "0.png").resize((99, 99)).save(tmp_path / "sizes" / "0.png")
    (tmp_path / "sizes" / "exposures.txt").write_text("0.png 0.1\n1.png 1\n")
    with pytest.raises(ImageError, match="different sizes"):
        read_scene(tmp_path / "sizes")
    for line in ("0.png", "0.png fast", "0.png -1", "0.png nan"):
        (tmp_path / "sizes" / "exposures.txt").write_text(f"1.png 1\n{line}\n")
        with pytest.raises(ImageError, match=rf"row 2: '{line}' is not 'name seconds'"):
            read_scene(tmp_path / "sizes")
    (tmp_path / "sizes" / "exposures.txt").write_text("none.png 0.1\n1.png 1\n")
    with pytest.raises(ImageError, match=r"none\.png does not exist"):
        read_scene(tmp_path / "sizes")


def test_sources_of_a_folder(tmp_path):
    rgb = radiance()
    write(tmp_path / "a.exr", rgb)
    (tmp_path / "a.jpg").write_bytes(b"a preview beside it")
    (tmp_path / "b.jpg").write_bytes(b"another")
    (tmp_path / "trip").mkdir()
    write(tmp_path / "trip" / "a.hdr", rgb)
    write(tmp_path / "trip" / ".hidden.hdr", rgb)
    bracket(tmp_path / "trip" / "window", rgb, [0.1, 1.0])
    (tmp_path / "empty").mkdir()
    assert find_sources(tmp_path) == {
        "a": tmp_path / "a.exr",
        "trip_a": tmp_path / "trip" / "a.hdr",
        "trip_window": tmp_path / "trip" / "window",
    }
    assert find_sources(tmp_path / "trip" / "window") == {"window": tmp_path / "trip" / "window"}
    with pytest.raises(DataError, match="holds no HDR picture"):
        find_sources(tmp_path / "empty")
    with pytest.raises(DataError, match="is not a folder"):
        find_sources(tmp_path / "a.exr")
    write(tmp_path / "a.tif", rgb)
    with pytest.raises(DataError, match=r"a\.exr and .*a\.tif have the same name"):
        find_sources(tmp_path)


def test_scenes_of_panoramas_and_photographs(tmp_path):
    options = {"views": 3, "size": (240, 180), "seed": 1}
    path = SAMPLES / "courtyard.exr"
    views = dict(scenes_of("yard", path, **options))
    assert list(views) == ["yard_0", "yard_1", "yard_2"]
    for rgb in views.values():
        assert rgb.shape == (180, 240, 3)
        assert rgb.min() >= 1e-3
        assert key(rgb) == pytest.approx(1, rel=0.05)
    again = dict(scenes_of("yard", path, **options))
    assert all((views[name] == again[name]).all() for name in views)
    tall = write(tmp_path / "tall.exr", radiance(600, 500))
    ((name, rgb),) = scenes_of("tall", tall, **options)
    assert name == "tall"
    assert rgb.shape == (216, 180, 3)


@pytest.mark.parametrize("shape", [(40, 60), (100, 200), (200, 900)])
def test_tiny_pictures(tmp_path, shape):
    path = write(tmp_path / "tiny.exr", radiance(*shape))
    with pytest.raises(ImageError, match=r"tiny\.exr is .* 161 pixels a side"):
        list(scenes_of("tiny", path, views=1, size=(480, 360), seed=0))


def test_bundled_panoramas_are_panoramas():
    for path in sorted(SAMPLES.glob("*.exr")):
        assert is_panorama(read_scene(path)), path
