import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_contract import check_layer
from scipy import ndimage, stats

from qdnet_keras.model.layers import (
    AdaIN,
    AdaINBlock,
    BilateralGrid,
    GaussianPosterior,
    InstanceSplit,
    ResizeLike,
)
from qdnet_keras.model.layers.bilateral_grid import grid_position
from qdnet_keras.model.scorer import Scorer


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def normal(rng, *shape):
    return rng.standard_normal(shape).astype("float32")


# === The contract of every layer ===


def test_instance_split_contract(rng, tmp_path):
    features = normal(rng, 2, 5, 7, 3)
    check_layer(InstanceSplit, [features], tmp_path, half_dtypes=["float16", "float32", "float32"])


def test_posterior_contract(rng, tmp_path):
    def make(dtype):
        return GaussianPosterior(latent_dim=4, units=8, dtype="float32")

    statistics = [normal(rng, 2, 6), normal(rng, 2, 10)]
    check_layer(make, [statistics], tmp_path, half_dtypes=["float32", "float32"])


def test_adain_contract(rng, tmp_path):
    arguments = [normal(rng, 2, 5, 4, 3), normal(rng, 2, 6)]
    check_layer(AdaIN, arguments, tmp_path, half_dtypes=["float16"])


def test_adain_block_contract(rng, tmp_path):
    def make(dtype):
        return AdaINBlock(6, dtype=dtype)

    arguments = [normal(rng, 2, 5, 4, 3), normal(rng, 2, 6)]
    check_layer(make, arguments, tmp_path, half_dtypes=["float16"])


def test_resize_like_contract(rng, tmp_path):
    arguments = [normal(rng, 2, 5, 4, 3), normal(rng, 2, 9, 7, 1)]
    check_layer(ResizeLike, arguments, tmp_path, half_dtypes=["float16"])


def test_bilateral_grid_contract(rng, tmp_path):
    def make(dtype):
        return BilateralGrid(dtype="float32")

    guide = rng.random((2, 6, 5), "float32")
    arguments = [normal(rng, 2, 3, 2, 24), guide, normal(rng, 2, 6, 5, 3)]
    pixels = (list(range(6)), list(range(5)))
    check_layer(make, arguments, tmp_path, half_dtypes=["float32"], pixels=pixels, size=(6, 5))


def test_scorer_contract(rng, tmp_path):
    def make(dtype):
        return Scorer(units=(8, 6, 4), dropout=0.3, dtype=dtype)

    check_layer(make, [normal(rng, 3, 5)], tmp_path, half_dtypes=["float16"])


# === InstanceSplit ===


def test_split_equals_numpy_in_double_precision(rng):
    features = (normal(rng, 2, 9, 11, 4) * [0.1, 1, 10, 100] + [5, -3, 0, 40]).astype("float32")
    content, mean, std = InstanceSplit(epsilon=1e-5)(features)

    exact = features.astype("float64")
    exact_mean = exact.mean(axis=(1, 2))
    exact_std = np.sqrt(exact.var(axis=(1, 2)) + 1e-5)
    np.testing.assert_allclose(mean, exact_mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(std, exact_std, rtol=1e-5)
    exact_content = (exact - exact_mean[:, None, None]) / exact_std[:, None, None]
    np.testing.assert_allclose(content, exact_content, atol=1e-4)
    np.testing.assert_allclose(np.mean(content, axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(content, axis=(1, 2))[:, 1:], 1, atol=1e-4)


def test_split_loses_nothing(rng):
    features = normal(rng, 2, 6, 5, 3) * 7 + 2
    content, mean, std = InstanceSplit()(features)
    whole = content * std[:, None, None] + mean[:, None, None]
    np.testing.assert_allclose(whole, features, atol=1e-5)


def test_split_of_large_half_precision_features_is_finite(rng):
    features = (normal(rng, 1, 8, 8, 2) * 5000 + 30000).astype("float16")
    content, mean, std = InstanceSplit(dtype="mixed_float16")(features)

    exact = features.astype("float64")
    assert np.isfinite(content).all()
    np.testing.assert_allclose(mean, exact.mean(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(std, exact.std(axis=(1, 2)), rtol=1e-4)


def test_split_of_constant_features_is_zero():
    content, mean, std = InstanceSplit(epsilon=1e-5)(np.full((1, 4, 4, 2), 0.25, "float32"))
    np.testing.assert_array_equal(content, np.zeros((1, 4, 4, 2)))
    np.testing.assert_array_equal(mean, [[0.25, 0.25]])
    np.testing.assert_allclose(std, np.sqrt(1e-5), rtol=1e-6)


# === GaussianPosterior ===


@pytest.fixture
def gaussian(rng):
    """Location and scale of two Gaussians in four dimensions."""
    loc = normal(rng, 2, 4)
    scale = rng.uniform(0.2, 2.0, (2, 4)).astype("float32")
    return loc, scale


def test_kl_equals_the_closed_form(gaussian):
    loc, scale = (values.astype("float64") for values in gaussian)
    closed = 0.5 * np.sum(loc**2 + scale**2 - 1 - 2 * np.log(scale), axis=-1)
    kl = GaussianPosterior.kl_to_prior(*gaussian)
    assert kl.shape == (2,)
    np.testing.assert_allclose(kl, closed, rtol=1e-5)


def test_kl_of_the_prior_is_zero():
    kl = GaussianPosterior.kl_to_prior(np.zeros((1, 4), "float32"), np.ones((1, 4), "float32"))
    np.testing.assert_allclose(kl, 0, atol=1e-7)


def test_kl_equals_a_monte_carlo_estimate(gaussian, rng):
    kl = GaussianPosterior.kl_to_prior(*gaussian)
    prior = stats.multivariate_normal(np.zeros(4))
    for loc, scale, value in zip(*gaussian, np.asarray(kl), strict=True):
        posterior = stats.multivariate_normal(loc, np.diag(scale**2))
        z = posterior.rvs(100_000, random_state=rng)
        ratio = posterior.logpdf(z) - prior.logpdf(z)
        assert abs(ratio.mean() - value) < 4 * ratio.std() / np.sqrt(len(z))


def test_distribution_is_the_gaussian_of_scipy(gaussian, rng):
    loc, scale = gaussian
    distribution = GaussianPosterior.distribution(loc, scale)
    assert distribution.event_shape == [4]
    assert distribution.batch_shape == [2]

    z = normal(rng, 2, 4)
    exact = [
        stats.multivariate_normal(m, np.diag(s**2)).logpdf(x)
        for x, m, s in zip(z, loc, scale, strict=True)
    ]
    np.testing.assert_allclose(distribution.log_prob(z), exact, rtol=1e-4)

    count = 40_000
    samples = np.asarray(distribution.sample(count, seed=(1, 2)))
    assert (abs(samples.mean(axis=0) - loc) < 5 * scale / np.sqrt(count)).all()
    np.testing.assert_allclose(samples.var(axis=0), scale**2, rtol=5 * np.sqrt(2 / count))


def test_prior_is_the_standard_normal(rng):
    prior = GaussianPosterior.prior(4)
    assert (prior.event_shape, prior.batch_shape) == ([4], [])
    z = normal(rng, 4)
    exact = stats.multivariate_normal(np.zeros(4)).logpdf(z)
    np.testing.assert_allclose(prior.log_prob(z), exact, rtol=1e-5)


def test_posterior_scale_is_positive_for_any_statistics(rng):
    layer = GaussianPosterior(latent_dim=3, units=4, min_scale=1e-3)
    for size in (0.0, 1.0, 1e4, 1e6):
        loc, scale = layer([size * normal(rng, 5, 6), size * normal(rng, 5, 8)])
        assert loc.shape == scale.shape == (5, 3)
        assert np.isfinite(loc).all() and np.isfinite(scale).all()
        assert (np.asarray(scale) >= 1e-3).all()


def test_posterior_standardises_each_stage_in_training(rng):
    """In training an affine change of a stage's statistics over the whole batch has no effect."""
    layer = GaussianPosterior(latent_dim=3, units=4)
    first, second = normal(rng, 16, 6), normal(rng, 16, 8)
    loc, scale = layer([first, second], training=True)
    loc_changed, scale_changed = layer([first * 50 + 7, second], training=True)
    np.testing.assert_allclose(loc, loc_changed, atol=5e-3)
    np.testing.assert_allclose(scale, scale_changed, atol=5e-3)


def test_posterior_of_rare_statistics_stays_within_what_it_knows(rng):
    """Beyond several standard deviations, how far a statistic lies makes no difference."""
    layer = GaussianPosterior(latent_dim=3, units=4)
    direction = np.sign(normal(rng, 2, 6))
    far, farther = layer([direction * 50]), layer([direction * 5000])
    for one, other in zip(far, farther, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    near, nearer = layer([direction * 1e-3])[0], layer([direction * 0])[0]
    slope = (np.asarray(near) - nearer) / 1e-3
    np.testing.assert_allclose(layer([direction * 2e-3])[0], nearer + 2e-3 * slope, atol=1e-5)


def test_posterior_leaves_statistics_out_when_asked(rng):
    layer = GaussianPosterior(latent_dim=3, units=4, dropout=0.5)
    statistics = [normal(rng, 2, 6)]
    whole = np.asarray(layer(statistics)[0])
    np.testing.assert_array_equal(layer(statistics)[0], whole)
    draws = np.array([layer(statistics, dropped=True)[0] for _ in range(8)])
    assert (draws.std(axis=0) > 0).all()


def test_posterior_never_leaves_the_last_stages_out(rng):
    layer = GaussianPosterior(latent_dim=3, units=4, dropout=0.5, undropped=1)
    wide, few = normal(rng, 2, 6), normal(rng, 2, 3)
    whole = np.asarray(layer([np.zeros_like(wide), few])[0])
    np.testing.assert_array_equal(layer([np.zeros_like(wide), few], dropped=True)[0], whole)
    draws = np.array([layer([wide, few], dropped=True)[0] for _ in range(8)])
    assert (draws.std(axis=0) > 0).all()


# === AdaIN ===


def test_adain_sets_mean_and_spread(rng):
    features, z = normal(rng, 2, 12, 10, 3) * 4 + 1, normal(rng, 2, 6)
    layer = AdaIN()
    output = np.asarray(layer(features, z))

    kernel, bias = (np.asarray(weight) for weight in layer.modulation.weights)
    scale, shift = np.split(z @ kernel + bias, 2, axis=-1)
    np.testing.assert_allclose(output.mean(axis=(1, 2)), shift, atol=1e-5)
    np.testing.assert_allclose(output.std(axis=(1, 2)), abs(1 + scale), rtol=1e-4, atol=1e-5)


def test_adain_forgets_the_mean_and_spread_of_its_input(rng):
    features, z = normal(rng, 2, 12, 10, 3), normal(rng, 2, 6)
    layer = AdaIN()
    gain = np.array([0.5, 3, 20], np.float32)
    changed = layer(features * gain + np.array([4, -1, 100], np.float32), z)
    np.testing.assert_allclose(layer(features, z), changed, atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 1)])
def test_block_on_the_smallest_features(rng, size):
    output = AdaINBlock(6)(normal(rng, 2, *size, 3), normal(rng, 2, 4))
    assert output.shape == (2, *size, 6)
    assert np.isfinite(output).all()


def test_block_is_convolutions_of_mirrored_features(rng):
    """Against SciPy, whose borders are mirrored: zero padding would draw a frame."""
    features, z = normal(rng, 1, 6, 5, 3), normal(rng, 1, 4)
    block = AdaINBlock(4)
    output = np.asarray(block(features, z))

    adapted = features @ np.asarray(block.adapt.kernel)[0, 0] + np.asarray(block.adapt.bias)
    expected = adapted[0]
    for conv, norm in zip(block.convs, block.norms, strict=True):
        kernel = np.asarray(conv.kernel)
        convolved = np.stack(
            [
                sum(
                    ndimage.correlate(expected[..., i], kernel[..., i, o], mode="reflect")
                    for i in range(4)
                )
                + float(conv.bias[o])
                for o in range(4)
            ],
            axis=-1,
        )
        content = (convolved - convolved.mean((0, 1))) / np.sqrt(convolved.var((0, 1)) + 1e-5)
        modulation = z[0] @ np.asarray(norm.modulation.kernel) + np.asarray(norm.modulation.bias)
        expected = np.maximum(content * (1 + modulation[:4]) + modulation[4:], 0.0)
    np.testing.assert_allclose(output[0], adapted[0] + expected, atol=1e-4)


# === ResizeLike ===


def interpolated(values, count):
    """Linear along the second axis, from centres of equal parts to those of `count` parts."""
    places = (np.arange(count) + 0.5) * values.shape[1] / count - 0.5
    low = np.clip(np.floor(places).astype(int), 0, values.shape[1] - 1)
    high = np.clip(np.floor(places).astype(int) + 1, 0, values.shape[1] - 1)
    share = (places - np.floor(places))[:, None, None]
    return (1 - share) * values[:, low] + share * values[:, high]


def bilinear(features, size):
    rows = interpolated(features.astype("float64"), size[0])
    return interpolated(rows.swapaxes(1, 2), size[1]).swapaxes(1, 2)


@pytest.mark.parametrize("size", [(51, 80), (13, 20), (1, 1), (6, 7)])
def test_resize_like_is_bilinear_to_any_size(rng, size):
    features = normal(rng, 2, 13, 20, 3)
    resized = ResizeLike()(features, np.zeros((2, *size, 1), "float32"))
    np.testing.assert_allclose(resized, bilinear(features, size), atol=1e-5)


def test_resize_like_with_sizes_unknown_to_the_graph(rng):
    unknown = tf.TensorSpec([None, None, None, None], tf.float32)
    layer = ResizeLike()
    graph = tf.function(lambda a, b: layer(a, b), input_signature=[unknown, unknown])
    for height, width in ((9, 14), (5, 4)):
        features, reference = normal(rng, 1, 5, 7, 2), normal(rng, 1, height, width, 3)
        np.testing.assert_allclose(
            graph(features, reference), bilinear(features, (height, width)), atol=1e-5
        )


# === BilateralGrid ===


def neighbours(position, cells):
    """The two cells around a position and their weights."""
    position = min(max(position, 0.0), cells - 1.0)
    low = min(int(position), cells - 1)
    high = min(low + 1, cells - 1)
    return (low, 1 - (position - low)), (high, position - low)


def slice_slowly(grid, guide, picture):
    batch, height, width, _ = picture.shape
    cells_y, cells_x = grid.shape[1:3]
    transforms = grid.astype("float64").reshape(batch, cells_y, cells_x, -1, 3, 4)
    depth = transforms.shape[3]
    output = np.zeros(picture.shape)
    for b, y, x in np.ndindex(batch, height, width):
        transform = np.zeros((3, 4))
        for i, wy in neighbours((y + 0.5) * cells_y / height - 0.5, cells_y):
            for j, wx in neighbours((x + 0.5) * cells_x / width - 0.5, cells_x):
                for k, wg in neighbours(float(guide[b, y, x]) * (depth - 1), depth):
                    transform += wy * wx * wg * transforms[b, i, j, k]
        output[b, y, x] = transform @ [*picture[b, y, x].astype("float64"), 1.0]
    return output


def slice_whole(grid, guide, picture):
    height, width = picture.shape[1:3]
    pixels = (tf.range(height), tf.range(width))
    return np.asarray(BilateralGrid()(grid, guide, picture, pixels=pixels, size=(height, width)))


@pytest.mark.parametrize(("cells", "depth"), [((3, 2), 4), ((1, 1), 1), ((2, 5), 2)])
def test_grid_equals_the_trilinear_loop(rng, cells, depth):
    grid = normal(rng, 2, *cells, depth * 12)
    guide = rng.random((2, 9, 11), "float32")
    guide[0, 0, :2] = 0.0, 1.0
    picture = normal(rng, 2, 9, 11, 3)
    expected = slice_slowly(grid, guide, picture)
    np.testing.assert_allclose(slice_whole(grid, guide, picture), expected, atol=2e-5)


def test_grid_in_bands_has_no_seams(rng):
    grid, guide = normal(rng, 1, 4, 3, 36), rng.random((1, 23, 17), "float32")
    picture = normal(rng, 1, 23, 17, 3)
    whole = slice_whole(grid, guide, picture)
    columns = tf.range(17)
    bands = [
        BilateralGrid()(
            grid,
            guide[:, top : top + 6],
            picture[:, top : top + 6],
            pixels=(tf.range(top, min(top + 6, 23)), columns),
            size=(23, 17),
        )
        for top in range(0, 23, 6)
    ]
    np.testing.assert_allclose(np.concatenate(bands, axis=1), whole, atol=1e-6)


def test_constant_grid_is_one_affine_transform(rng):
    transform = normal(rng, 3, 4)
    grid = np.broadcast_to(np.tile(transform.reshape(-1), 5), (1, 3, 2, 60))
    guide, picture = rng.random((1, 8, 9), "float32"), normal(rng, 1, 8, 9, 3)
    expected = picture @ transform[:, :3].T + transform[:, 3]
    np.testing.assert_allclose(slice_whole(grid, guide, picture), expected, atol=1e-5)


def test_output_is_linear_in_the_grid(rng):
    first, second = normal(rng, 1, 3, 2, 36), normal(rng, 1, 3, 2, 36)
    guide, picture = rng.random((1, 8, 9), "float32"), normal(rng, 1, 8, 9, 3)
    combined = slice_whole(2 * first - 0.5 * second, guide, picture)
    separate = 2 * slice_whole(first, guide, picture) - 0.5 * slice_whole(second, guide, picture)
    np.testing.assert_allclose(combined, separate, atol=1e-4)


@pytest.mark.parametrize(("size", "cells"), [(37, 5), (8, 8), (5, 9), (4, 1)])
def test_grid_position_is_that_of_bilinear_resizing(rng, size, cells):
    position = np.asarray(grid_position(tf.range(size), size, cells))
    assert (position >= 0).all() and (position <= cells - 1).all()
    line = normal(rng, 1, cells, 1, 1)
    resized = tf.image.resize(line, (size, 1))[0, :, 0, 0]
    interpolated = np.interp(position, np.arange(cells), line[0, :, 0, 0])
    np.testing.assert_allclose(interpolated, resized, atol=1e-5)


# === Scorer ===


def test_scorer_is_four_dense_layers(rng):
    layer, z = Scorer(units=(8, 6, 4)), normal(rng, 3, 5)
    score = layer(z)
    weights = [np.asarray(weight) for weight in layer.trainable_weights]
    assert [w.shape for w in weights] == [(5, 8), (8,), (8, 6), (6,), (6, 4), (4,), (4, 1), (1,)]
    expected = z
    for kernel, bias in zip(weights[0:6:2], weights[1:6:2], strict=True):
        expected = np.maximum(expected @ kernel + bias, 0)
    np.testing.assert_allclose(score, (expected @ weights[6] + weights[7])[:, 0], atol=1e-5)


def test_scorer_drops_out_in_training_only(rng):
    layer, z = Scorer(units=(64, 64, 64), dropout=0.5), normal(rng, 8, 5)
    np.testing.assert_array_equal(layer(z), layer(z))
    first, second = layer(z, training=True), layer(z, training=True)
    assert (np.asarray(first) != np.asarray(second)).all()
    without = Scorer(units=(8, 6, 4), dropout=0.0)
    np.testing.assert_array_equal(without(z, training=True), without(z))
