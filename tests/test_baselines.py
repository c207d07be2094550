"""The features of each method against what its paper or arithmetic says, and the one interface."""

import numpy as np
import pytest
from PIL import Image, ImageCms
from skimage.feature import local_binary_pattern

from qdnet_keras.errors import PresetError
from qdnet_keras.evaluation.methods import (
    HANDCRAFTED,
    METHODS,
    Options,
    bibqa,
    brisque,
    contrast,
    desique,
    gm_log,
    higrade,
    make_method,
    method_names,
    published,
)
from qdnet_keras.evaluation.methods.base import support_vectors
from qdnet_keras.evaluation.methods.colour import D50, D65, cielab, opponents
from qdnet_keras.evaluation.methods.features import FeatureStore
from qdnet_keras.metrics import srocc
from qdnet_keras.model.layers import NaturalStatistics

PUBLISHED = {
    "brisque": (brisque.features, 36),
    "desique": (desique.features, 60),
    "gm-log": (gm_log.features, 40),
    "higrade-1": (higrade.features_1, 216),
    "higrade-2": (higrade.features_2, 120),
    "bibqa": (bibqa.features, 60),
    "published-statistics": (published.features, 73),
}
FEATURES = pytest.mark.parametrize("name", list(PUBLISHED))


def picture(seed=0, size=(90, 110), low=40, high=200):
    """A blurred colourful picture with grain, uint8, away from black and white."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(low, high, (9, 11, 3), np.uint8))
    smooth = np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC), np.float32)
    return np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


@FEATURES
def test_dimension_and_type(name):
    features, dimension = PUBLISHED[name]
    values = features(picture())
    assert values.shape == (dimension,) and values.dtype == np.float32
    method = make_method(name, Options(), FeatureStore(), None)
    assert method.dimension == dimension and method.name == name


@FEATURES
@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((32, 32, 3), np.uint8),
        np.full((33, 47, 3), 255, np.uint8),
        np.full((32, 40, 3), 65535, np.uint16),
        np.tile(np.array([0, 255], np.uint8)[:, None], (20, 17, 3)),
        picture(size=(32, 32)),
    ],
    ids=["black", "white", "white16", "stripes", "small"],
)
def test_every_picture_has_finite_features(name, pixels):
    assert np.isfinite(PUBLISHED[name][0](pixels)).all()


@FEATURES
def test_bit_depth_does_not_matter(name):
    features, _ = PUBLISHED[name]
    pixels = picture()
    deep = features(pixels.astype(np.uint16) * 257)
    np.testing.assert_allclose(deep, features(pixels), rtol=1e-3, atol=1e-3)


@FEATURES
def test_features_see_noise(name):
    features, _ = PUBLISHED[name]
    clean = picture()
    noisy = np.clip(clean + np.random.default_rng(1).normal(0, 20, clean.shape), 0, 255)
    assert not np.allclose(features(clean), features(noisy.astype(np.uint8)), rtol=0.05)


def test_brisque_of_a_transposed_picture_swaps_directions():
    values = brisque.features(picture(size=(64, 64)))
    turned = brisque.features(picture(size=(64, 64)).swapaxes(0, 1))
    scale = np.arange(18)
    swapped = np.r_[scale[:2], scale[6:10], scale[2:6], scale[10:]]
    expected = values[np.r_[swapped, swapped + 18]]
    np.testing.assert_allclose(turned, expected, rtol=1e-3, atol=1e-3)


def test_log_gabor_passes_its_centre_and_no_mean():
    x = np.arange(96)
    wave = np.tile(10 * np.cos(2 * np.pi * x / 3), (48, 1)).astype(np.float32)
    np.testing.assert_allclose(desique.log_gabor(wave + 100), wave, atol=1e-3)
    np.testing.assert_allclose(desique.log_gabor(wave.T + 100), wave.T, atol=1e-3)
    octave_below = np.tile(10 * np.cos(2 * np.pi * x / 6), (48, 1)).astype(np.float32)
    gain = np.exp(-(np.log(2) ** 2) / (2 * np.log(0.65) ** 2))
    np.testing.assert_allclose(desique.log_gabor(octave_below), gain * octave_below, atol=1e-3)


def test_gm_log_distributions():
    values = gm_log.features(picture()).reshape(4, 10)
    np.testing.assert_allclose(values.sum(axis=1), 1, rtol=1e-5)
    assert (values >= 0).all()


def test_independency_is_the_marginal_of_independent_maps():
    rows, columns = np.random.default_rng(0).dirichlet(np.ones(10), 2)
    np.testing.assert_allclose(gm_log.independency(np.outer(rows, columns)), rows)


def test_independency_by_hand():
    joint = np.array([[0.3, 0.0, 0.1], [0.1, 0.0, 0.5]])
    expected = [(0.3 / 0.4 + 0.1 / 0.6) / 2, (0.1 / 0.4 + 0.5 / 0.6) / 2]
    np.testing.assert_allclose(gm_log.independency(joint), expected, rtol=1e-3)


def test_joint_probability_by_hand():
    joint = gm_log.joint_probability(np.array([[0.0, 0.2], [0.21, 9.0]]), np.full((2, 2), 0.45))
    expected = np.zeros((10, 10))
    expected[0, 2], expected[1, 2], expected[9, 2] = 0.5, 0.25, 0.25
    np.testing.assert_array_equal(joint, expected)


def test_gm_log_of_a_transposed_picture_is_the_same():
    pixels = picture()
    turned = gm_log.features(pixels.swapaxes(0, 1))
    np.testing.assert_allclose(turned, gm_log.features(pixels), atol=2e-4)


def test_gm_log_maps_ignore_strong_contrast():
    """The joint normalisation: a picture of twice the contrast has nearly the same maps."""
    luma = np.random.default_rng(0).uniform(0, 120, (50, 50))
    for one, twice in zip(
        gm_log.normalised_maps(luma), gm_log.normalised_maps(2 * luma), strict=True
    ):
        np.testing.assert_allclose(one, twice, rtol=0.05)


def test_cielab_of_known_colours():
    """Of D65 as everybody gives them, of D50 as by LittleCMS from sRGB's profile."""
    colours = np.array([[[255, 255, 255], [255, 0, 0], [0, 0, 0]]], np.uint8)
    lightness, a, b = (channel[0] for channel in cielab(colours, D65))
    np.testing.assert_allclose(lightness, [100, 53.24, 0], atol=0.01)
    np.testing.assert_allclose(a, [0, 80.09, 0], atol=0.01)
    np.testing.assert_allclose(b, [0, 67.20, 0], atol=0.01)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = np.asarray(ImageCms.applyTransform(Image.fromarray(pixels), to_lab)).astype(float)
    ours = cielab(pixels, D50)
    np.testing.assert_allclose(2.55 * ours[0], lab[..., 0], atol=1.1)
    for channel, theirs in zip(ours[1:], np.moveaxis(lab[..., 1:], -1, 0), strict=True):
        np.testing.assert_allclose(channel, (theirs + 128) % 256 - 128, atol=1.1)


def test_gradient_of_a_slope():
    slope = np.tile(np.arange(20.0), (20, 1))
    np.testing.assert_allclose(higrade.gradient_magnitude(slope)[:, 1:-1], 8)
    steep = higrade.gradient_magnitude(slope + 2 * slope.T)[1:-1, 1:-1]
    np.testing.assert_allclose(steep, 8 * np.sqrt(5), rtol=1e-6)


def test_coherence():
    y, x = np.mgrid[:46, :55].astype(np.float32)
    for stripes in (x, y, x + y, np.sin(x / 2 + y / 3) * 40):
        blocks = higrade.coherence(stripes).reshape(5, 6)
        np.testing.assert_allclose(blocks[1:, 1:], 1, atol=2e-3)
        np.testing.assert_allclose(blocks, 1, atol=0.07)  # replicated borders bend gradients
    np.testing.assert_array_equal(higrade.coherence(np.full((46, 55), 9, np.float32)), 0)
    white = np.random.default_rng(0).normal(0, 20, (91, 91)).astype(np.float32)
    assert np.median(higrade.coherence(white)) < 0.1
    assert higrade.coherence(x).shape == (5 * 6,)


def test_local_patterns():
    def histogram(values):
        return contrast.pattern_histogram(np.array(values, float), radius=1)

    np.testing.assert_array_equal(histogram(np.zeros((9, 9))), np.eye(10)[8])
    np.testing.assert_array_equal(histogram([[0, 0, 0], [0, 1, 0], [0, 0, 0]]), np.eye(10)[0])
    np.testing.assert_array_equal(histogram([[0, 0, 0], [0, 1, 2], [2, 2, 2]]), np.eye(10)[4])
    np.testing.assert_array_equal(histogram([[0, 2, 0], [2, 1, 2], [0, 2, 0]]), np.eye(10)[9])


@pytest.mark.parametrize("radius", [1, 2])
def test_local_patterns_are_those_of_scikit_image(radius):
    values = np.random.default_rng(0).normal(size=(40, 50))
    values = np.rint(100 * values).astype(int)
    patterns = local_binary_pattern(values, 8, radius, "uniform")[radius:-radius, radius:-radius]
    expected = np.bincount(patterns.astype(int).ravel(), minlength=10) / patterns.size
    np.testing.assert_allclose(contrast.pattern_histogram(values, radius), expected)


def test_contrast_energy_by_plain_convolution():
    channel = np.random.default_rng(0).uniform(0, 255, (40, 44))
    x = np.arange(20) - 9.75
    taps = (x**2 / 3.25**2 - 1) * np.exp(-(x**2) / (2 * 3.25**2))
    taps -= taps.mean()
    taps /= (taps * x**2 / 2).sum()
    across = [np.convolve(np.r_[row[:10], row, row[-10:]], taps, "same")[10:-10] for row in channel]
    down = [np.convolve(np.r_[row[:10], row, row[-10:]], taps, "same")[10:-10] for row in channel.T]
    energy = np.hypot(np.array(across), np.array(down).T)
    gained = energy * energy.max() / (energy + 0.1 * energy.max()) - 20
    assert (gained < 0).any()
    np.testing.assert_allclose(contrast.contrast_energy(channel, 20), np.maximum(gained, 0))


def test_contrast_energy_of_a_flat_channel():
    np.testing.assert_array_equal(contrast.contrast_energy(np.full((40, 40), 80.0), 0.0), 0)


def test_opponent_colours():
    channels = opponents(np.array([[[10, 30, 7]]], np.uint8))
    assert channels["luma"].item() == pytest.approx(0.299 * 10 + 0.587 * 30 + 0.114 * 7)
    assert channels["red_green"].item() == -20
    assert channels["yellow_blue"].item() == 13


# --- The interface --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Forty pictures whose score falls with their grain."""
    folder = tmp_path_factory.mktemp("graded")
    rng = np.random.default_rng(0)
    files, mos = [], []
    for number in range(40):
        grain = rng.uniform(0, 25)
        clean = picture(seed=number, size=(48, 64))
        pixels = np.clip(clean + rng.normal(0, grain, clean.shape), 0, 255).astype(np.uint8)
        files.append(folder / f"{number}.png")
        Image.fromarray(pixels).save(files[-1])
        mos.append(70 - 2 * grain)
    return files, np.array(mos)


@FEATURES
def test_fit_and_predict(name, graded):
    files, mos = graded
    method = make_method(name, Options(), FeatureStore(), None)
    with pytest.raises(ValueError, match="has not been fitted"):
        method.predict(files[:2])
    groups = [str(k // 2) for k in range(30)]
    predicted = method.fit(files[:30], mos[:30], groups=groups).predict(files[30:])
    assert predicted.shape == (10,) and predicted.dtype == np.float64
    assert srocc(predicted, mos[30:]) > 0.7


def test_support_vectors_keep_groups_together():
    """Two copies of each row with one label: a search that split them would overfit to copies."""
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(30, 5)), 2, axis=0)
    mos = np.repeat(rng.uniform(20, 70, 30), 2)
    groups = np.repeat(np.arange(30), 2).astype(str)
    search = support_vectors(features, mos, groups)
    for train, test in search.cv.split(features, mos, groups):
        assert not set(groups[train]) & set(groups[test])
    # The scores are noise, so that over groups nothing explains them better than their mean;
    # over rows, the copy in the other fold would have given them away.
    assert search.best_score_ < -0.9 * mos.var()


def test_support_vectors_with_few_groups():
    features = np.random.default_rng(0).normal(size=(8, 3))
    search = support_vectors(features, features[:, 0] * 10 + 50, ["a"] * 4 + ["b"] * 4)
    assert search.n_splits_ == 2


def test_published_regressor_clips_to_what_it_has_seen():
    statistics = np.random.default_rng(0).uniform(size=(60, 73))
    model = published.regressor().fit(statistics, 40 + 10 * statistics[:, 0])
    low, high = statistics.min(axis=0), statistics.max(axis=0)
    far = model.predict([low - 5, high + 5])
    np.testing.assert_allclose(far, model.predict([low, high]))
    assert model[-1].gamma == pytest.approx(1 / 109.5)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """A weights file of ResNet50 without top, random."""
    import keras

    path = tmp_path_factory.mktemp("resnet") / "random.weights.h5"
    keras.applications.ResNet50(include_top=False, weights=None).save_weights(path)
    return path


def test_he2018_statistics_are_those_of_the_encoder(resnet, photo):
    from qdnet_keras.model.encoder import Encoder
    from qdnet_keras.photos.files import read_photo, to_float

    path = photo("a.png", size=(80, 64))
    method = make_method("he2018", Options(resnet=str(resnet)), FeatureStore(), None)
    values = method.extract([path])[0]
    assert values.shape == (9216,)
    whole, decimated = values.reshape(2, -1)
    encoder = Encoder(weights=str(resnet))
    pixels = read_photo(path).pixels
    for part, scaled in ((whole, pixels), (decimated, pixels[::2, ::2])):
        res4f = np.asarray(encoder(to_float(scaled)[None])[4][0], "float64").reshape(-1, 1024)
        last = np.concatenate([res4f.mean(0), res4f.std(0)])
        np.testing.assert_allclose(part[2 * (256 + 1024) :], last, rtol=1e-3, atol=1e-4)
    assert method.cache_name.startswith("he2018-")


def test_natural_statistics_learn_and_are_those_of_the_network(graded):
    files, mos = graded
    method = make_method("natural-statistics", Options(), FeatureStore(), None)
    predicted = method.fit(files[:30], mos[:30]).predict(files[30:])
    assert srocc(predicted, mos[30:]) > 0.5
    pixels = picture()
    expected = NaturalStatistics()((pixels / 255).astype("float32")[None])[0]
    np.testing.assert_allclose(method.describe(pixels), expected, rtol=1e-4, atol=1e-5)


def test_he2018_learns(resnet, graded):
    files, mos = graded
    method = make_method("he2018", Options(resnet=str(resnet)), FeatureStore(), None)
    predicted = method.fit(files[:30], mos[:30]).predict(files[30:])
    assert srocc(predicted, mos[30:]) > 0.5


def test_he2018_needs_resnet50(tiny_preset, photo):
    method = make_method("he2018", Options(resnet=str(tiny_preset)), FeatureStore(), None)
    with pytest.raises(PresetError, match="is not ResNet50"):
        method.describe(np.zeros((64, 64, 3), np.uint8))


def test_missing_weights():
    with pytest.raises(PresetError, match="no preset 'nothing'"):
        make_method("he2018", Options(resnet="nothing"), FeatureStore(), None)


def test_names():
    assert method_names("brisque, gm-log,brisque") == ["brisque", "gm-log"]
    assert method_names("higrade") == ["higrade-1", "higrade-2"]
    assert method_names("table") == [*HANDCRAFTED, "qdnet"]
    assert set(METHODS) - set(method_names("table,ablations")) == {"published-statistics"}
    for wrong in ("brisk", "", ","):
        with pytest.raises(ValueError, match=r"no method|at least one"):
            method_names(wrong)
    with pytest.raises(ValueError, match="'higrade' is no method"):
        make_method("higrade", Options(), FeatureStore(), None)
