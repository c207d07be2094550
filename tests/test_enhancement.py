"""Enhancement against SciPy's root finder, synthetic loops and properties of the rendering."""

import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import brentq

from qdnet_keras import QDNet
from qdnet_keras.model import enhancement as module
from qdnet_keras.model.enhancement import enhance_pixels, render_pixels, render_tile, settle
from qdnet_keras.model.path import (
    ASTRAY,
    CASTS,
    CHROMA,
    WORTHWHILE,
    choose_latent,
    choose_path,
)
from qdnet_keras.model.scoring import score_pixels
from qdnet_keras.model.search import CORNER, NEAR, Search, close_loop, search_epsilon
from qdnet_keras.photos.files import to_float


@pytest.fixture(scope="module")
def model(tiny_preset, picture) -> QDNet:
    """The tiny network, used to pictures like this one, with a rising scorer: it gets about 50."""
    model = QDNet.from_preset(tiny_preset)
    random = np.random.default_rng(1)
    for layer in model.scorer.hidden:
        layer.kernel.assign(np.abs(random.normal(0.3, 0.1, layer.kernel.shape)))
        layer.bias.assign(np.full(layer.bias.shape, 0.5))
    model.scorer.output_layer.kernel.assign(np.full((8, 1), 0.3))
    contrasts = np.linspace(0.6, 1.1, 6)[:, None, None, None]
    alike = (0.5 + contrasts * (to_float(picture) - 0.5)).clip(0, 1).astype("float32")
    model.posterior.adapt(model.split(alike).statistics)
    loc = model.encode(to_float(picture)[None]).loc
    model.scorer.output_layer.bias.assign(-model.scorer(loc))
    for layer in (model.decoder.cells, model.decoder.whole_tones, model.decoder.whole_tint):
        layer.kernel.assign(random.normal(0.0, 0.2, layer.kernel.shape))
    return model


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    random = np.random.default_rng(2)
    coarse = tf.image.resize(random.uniform(20, 230, (6, 8, 3)), (90, 130), "bicubic")
    return np.clip(coarse + random.normal(0, 4, (90, 130, 3)), 0, 255).astype(np.uint8)


def latents(count: int, seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).standard_normal((count, 4)), tf.float32)


def test_search_finds_the_root_that_scipy_finds(model):
    z, far = latents(6), latents(6, 1)
    ends = np.asarray(model.rank_latent(z)), np.asarray(model.rank_latent(far))
    target = (0.3 * ends[0] + 0.7 * ends[1]).astype(np.float32)
    epsilon = search_epsilon(model, z, far, tf.constant(target)).numpy()
    for row in range(6):

        def gap(share: float, row: int = row) -> float:
            mixed = z[row : row + 1] + share * (far[row : row + 1] - z[row : row + 1])
            return float(model.rank_latent(mixed)[0]) - target[row]

        assert abs(gap(epsilon[row])) < 0.02
        assert epsilon[row] == pytest.approx(brentq(gap, 0.0, 1.0), abs=0.02)


def test_search_without_a_crossing_returns_the_best_end(model):
    z, far = latents(3), latents(3, 1)
    epsilon = search_epsilon(model, z, far, tf.fill([3], 200.0)).numpy()
    ends = np.stack([model.rank_latent(z), model.rank_latent(far)])
    np.testing.assert_allclose(epsilon, ends.argmax(axis=0), atol=1e-3)


def test_search_survives_a_flat_scorer(model):
    z = latents(2)
    assert np.isfinite(search_epsilon(model, z, z, tf.constant([10.0, 90.0])).numpy()).all()


CURVES = {
    "line": lambda e: 40.0 + 30.0 * e,
    "late": lambda e: 40.0 + 30.0 * e**2,
    "early": lambda e: 40.0 + 30.0 * tf.sqrt(e),
    "waves": lambda e: 40.0 + 25.0 * e + tf.sin(12.0 * e),
    "falling": lambda e: 40.0 - 20.0 * e,
}


def searched(curve, targets) -> Search:
    """What is known of paths whose proofs score as `curve` says."""
    before, end = tf.fill(targets.shape, 40.0), tf.fill(targets.shape, curve(tf.constant(1.0)))
    upward = tf.sign(targets - before)
    zero, one = tf.zeros_like(before), tf.ones_like(before)
    search = Search(zero, upward * (before - targets), one, upward * (end - targets))
    return close_loop(curve, search, (one, end), targets, upward, NEAR)[0]


@pytest.mark.parametrize("miss", [0.0, 2.5, -2.5])
@pytest.mark.parametrize("name", CURVES)
def test_targets_between_the_ends_are_met_though_the_picture_scores_otherwise(name, miss):
    """The picture scores `miss` more than its proof: at most three renderings of it are needed."""
    curve = CURVES[name]
    ends = np.sort([float(curve(tf.constant(0.0))), float(curve(tf.constant(1.0)))])
    targets = tf.constant(np.linspace(ends[0] + 4, ends[1] - 4, 7), tf.float32)
    search = searched(curve, targets)
    for row, target in enumerate(targets):
        rendered = []

        def render(epsilon, rendered=rendered):
            rendered.append(float(epsilon))
            return curve(epsilon) + miss * tf.minimum(4.0 * epsilon, 1.0), f"at {epsilon:.6f}"

        found = found_by(search.crossing()[row], search.slope()[row], 40.0)
        epsilon, score, picture = settle(render, found, "as it is", target, 1.0)
        assert abs(float(score) - float(target)) <= 1.0
        assert float(epsilon) in rendered and len(rendered) <= 3
        assert picture == f"at {epsilon:.6f}"


def found_by(epsilon, slope, before) -> module.Found:
    nothing, numbers = tf.zeros([1]), (tf.fill([1], value) for value in (epsilon, slope, before))
    return module.Found([], nothing, nothing, nothing, nothing, *numbers)


@pytest.mark.parametrize(
    ("end", "target", "epsilon", "score"),
    [
        (20.0, 70.0, 0.0, 50.0),
        (60.0, 90.0, 1.0, 60.0),
        (52.0, 40.0, 0.0, 50.0),
        (50.05, 90.0, 0.0, 50.0),
    ],
)
def test_the_nearer_end_is_taken_when_the_target_is_out_of_reach(end, target, epsilon, score):
    found = found_by(1.0, 0.0, 50.0)
    best = settle(lambda e: (50.0 + (end - 50.0) * e, "changed"), found, "as it is", target, 1.0)
    assert [float(value) for value in best[:2]] == [epsilon, score]
    assert best[2] == ("changed" if epsilon else "as it is")


def test_the_restored_quality_is_tried_before_all_others(model, picture):
    """Where it reaches the target, the rendering is a mixture of it and of the picture's own."""
    contents, moments, z, *_ = model.encode(to_float(picture)[None])
    bias = model.restorer.step.bias

    def rendered(epsilon):
        quality = z + epsilon / CORNER * bias
        change = model.decoder.change(contents, z, quality)
        return render_pixels(model, module.Change(change, moments), picture)

    bias.assign([0.5, -0.3, 0.15, 0.3])
    try:
        shares = (0.0, CORNER)
        before, end = (score_pixels(model, rendered(share)).score for share in shares)
        assert end - before > 6.0
        result = enhance_pixels(model, picture, before + 0.5 * (end - before))
        assert result.reached and 0.0 < result.epsilon < CORNER
        assert np.abs(result.pixels.astype(int) - rendered(result.epsilon)).max() <= 1
    finally:
        bias.assign([0.0] * 4)


LITTLE, MUCH = 0.9, 1.1


def chosen_of(model, proofs, target):
    """Which proof `choose_path` takes for a picture that scores 50; -1: none of them.

    A proof is what is gained and what share of chroma is lost; the restored quality's comes first,
    to which nothing leads down.
    """
    end = tf.argmin if target > 50.0 else tf.argmax
    z = tf.gather(model.bank, [int(end(model.score_latent(model.bank)))])
    tried = []

    def rescore(far, epsilon):
        gained, lost = proofs[len(tried)] if len(tried) < len(proofs) else (0.0, 0.0)
        tried.append((far.numpy().tolist(), float(epsilon[0]), 50.0 + gained))
        return tf.constant([50.0 + gained]), tf.fill([1], lost)

    tolerance, seed = tf.constant(1.0), tf.constant(0)
    before, target = tf.fill([1], 50.0), tf.fill([1], target)
    far, _, epsilon, score = choose_path(
        model, rescore, z, z + 0.1, before, target, tolerance, seed, "bank"
    )
    if float(epsilon[0]) == 0.0:
        assert float(score[0]) == 50.0
        return -1
    path = far.numpy().tolist(), float(epsilon[0])
    (chosen,) = [i for i, proof in enumerate(tried) if proof[:2] == path and proof[2] == score[0]]
    return chosen


@pytest.mark.parametrize(
    ("proofs", "chosen"),
    [
        ([(1.0, 0.0), (1.0 + LITTLE * WORTHWHILE, 0.0)], 0),
        ([(1.0, 0.0), (1.0 + MUCH * WORTHWHILE, 0.0)], 1),
        ([(1.0, 0.0), (1.0 + WORTHWHILE + LITTLE * CHROMA, 1.0)], 0),
        ([(1.0, 0.0), (1.0 + WORTHWHILE + MUCH * CHROMA, 1.0)], 1),
        ([(1.0, 0.0), (1.0 - LITTLE * ASTRAY, 0.0), (20.0, 0.0)], 2),
        ([(1.0, 0.0), (1.0 - MUCH * ASTRAY, 0.0), (20.0, 0.0)], 0),
        ([(LITTLE * CASTS * CHROMA, 1.0)], -1),
        ([(MUCH * CASTS * CHROMA, 1.0)], 0),
    ],
)
def test_a_quality_is_taken_that_gains_enough_for_what_it_takes_of_colours(model, proofs, chosen):
    assert chosen_of(model, proofs, 99.0) == chosen


@pytest.mark.parametrize(
    ("proofs", "target", "chosen"),
    [
        ([(-LITTLE * WORTHWHILE, 0.0)], 20.0, -1),
        ([(-MUCH * WORTHWHILE, 1.0)], 20.0, 0),
        ([(-LITTLE * WORTHWHILE, 0.0)], 48.0, 0),
        ([(-1.5, 0.0)], 48.0, 0),
    ],
)
def test_a_picture_is_made_worse_by_much_or_as_asked(model, proofs, target, chosen):
    assert chosen_of(model, proofs, target) == chosen


def test_a_path_does_not_depend_on_the_other_pictures_of_a_batch(model):
    """Pictures to be made better, worse, and better by little, each alone and all together."""
    z, restored = latents(8, 5), latents(8, 7)
    before = tf.fill([8], 50.0)
    target = tf.constant([90.0, 10.0, 52.0, 99.0, 45.0, 53.0, 30.0, 70.0])

    def path(rows):
        def rescore(far, epsilon):
            score = 50.0 + 12.0 * epsilon * (far[:, 0] - far[:, 1] + 0.5 * far[:, 2])
            return score, tf.sigmoid(far[:, 3]) * epsilon

        of_rows = (tf.gather(values, rows) for values in (z, restored, before, target))
        tolerance, seed = tf.constant(1.0), tf.constant(0)
        return choose_path(model, rescore, *of_rows, tolerance, seed, "bank")

    together = path(range(8))
    for row in range(8):
        for one, of_all in zip(
            tf.nest.flatten(path([row])), tf.nest.flatten(together), strict=True
        ):
            np.testing.assert_allclose(one[0], of_all[row], atol=1e-4)


@pytest.mark.parametrize("sampler", ["bank", "prior"])
@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_chosen_latent_lies_beyond_a_target_that_exists(model, sampler, direction):
    z = latents(4, 3)
    middle = np.median(np.asarray(model.score_latent(model.bank)))
    upward = tf.fill([4], direction)
    goal = tf.fill([4], np.float32(direction * middle + 0.1))
    chosen = choose_latent(model, z, upward, goal, tf.constant(0), sampler)
    assert (upward * model.score_latent(chosen) >= goal - 1e-3).numpy().all()


def test_prior_fallback_stays_inside_the_ball_of_the_prior(model):
    z = latents(2, 4)
    chosen = choose_latent(model, z, tf.ones([2]), tf.fill([2], 1e6), tf.constant(0), "prior")
    assert (tf.norm(chosen, axis=-1) <= 3.644).numpy().all()  # sqrt(chi2.ppf(0.99, 4))
    assert (model.score_latent(chosen) > model.score_latent(z)).numpy().all()


def test_higher_targets_end_no_lower_than_the_tolerance_allows(model, picture):
    before = score_pixels(model, picture).score
    targets = np.clip(before + np.array([-90, -30, -12, -6, 6, 12, 30, 90]), 0, 100)
    after = [enhance_pixels(model, picture, float(target)).score_after for target in targets]
    assert (np.diff(after) >= -module.TOLERANCE).all()
    assert after[0] < after[-1]
    top = [enhance_pixels(model, picture, target).pixels for target in (99.0, 100.0)]
    np.testing.assert_array_equal(*top)


def test_present_score_as_target_returns_the_very_picture(model, picture):
    before = score_pixels(model, picture).score
    result = enhance_pixels(model, picture, before)
    assert np.array_equal(result.pixels, picture)
    assert result.reached
    assert result.epsilon == 0.0
    assert result.score_before == pytest.approx(before, abs=1e-3)


def test_result_reports_the_score_of_the_pixels_it_returns(model, picture):
    before = score_pixels(model, picture).score
    for target in (min(before + 6.0, 100.0), max(before - 6.0, 0.0)):
        result = enhance_pixels(model, picture, target)
        assert result.pixels.shape == picture.shape
        assert result.pixels.dtype == picture.dtype
        again = score_pixels(model, result.pixels).score
        assert result.score_after == pytest.approx(again, abs=1e-3)
        assert abs(again - target) <= abs(before - target) + 0.5
        assert result.reached == (abs(again - target) <= module.TOLERANCE)


def test_half_precision_renders_nearly_alike(model, picture, tiny_preset):
    half = QDNet.from_preset(tiny_preset, dtype="mixed_float16")
    for weight, value in zip(half.weights, model.weights, strict=True):
        weight.assign(value)
    before = score_pixels(model, picture).score
    assert score_pixels(half, picture).score == pytest.approx(before, abs=0.5)
    changed = False
    for target in (before + 6.0, before - 6.0):
        one, other = (enhance_pixels(m, picture, target) for m in (model, half))
        assert other.score_after == pytest.approx(one.score_after, abs=1.0)
        assert np.abs(other.pixels.astype(int) - one.pixels).mean() < 2.0
        changed |= (other.pixels != picture).any()
    assert changed


@pytest.fixture(scope="module")
def change(model, picture) -> module.Change:
    """A strong change of the picture, whatever the scorer thinks of it."""
    contents, moments, z, *_ = model.encode(to_float(picture)[None])
    return module.Change(model.decoder.change(contents, z, z + 2.0), moments)


def test_rendering_does_not_depend_on_the_bands(model, change, picture, monkeypatch):
    whole = render_pixels(model, change, picture)
    assert np.abs(whole.astype(int) - picture).mean() > 2.0
    monkeypatch.setattr(module, "BAND_PIXELS", 130 * 7)
    assert np.abs(whole.astype(int) - render_pixels(model, change, picture)).max() <= 1


def test_a_large_picture_is_held_but_once_more(model, picture, monkeypatch):
    large = picture.repeat(12, axis=0).repeat(12, axis=1).astype(np.uint16) * 257
    monkeypatch.setattr(module, "BAND_PIXELS", 1 << 14)
    enhance_pixels(model, large, 70.0, long_side=130)  # traces and compiles
    tracemalloc.start()
    try:
        enhance_pixels(model, large, 70.0, long_side=130)
        assert tracemalloc.get_traced_memory()[1] < 1.6 * large.nbytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "tile", [(0, 0, 90, 130), (13, 0, 20, 130), (31, 57, 40, 73), (89, 129, 1, 1)]
)
def test_a_tile_is_rendered_as_in_the_whole_picture(model, change, picture, tile):
    top, left, rows, columns = tile
    box = (slice(top, top + rows), slice(left, left + columns))
    alone = render_tile(model, change, picture[box], (top, left), picture.shape[:2])
    whole = render_pixels(model, change, picture)[box]
    assert alone.shape == whole.shape == (rows, columns, 3)
    assert np.abs(alone.astype(int) - whole).max() <= 1


def test_sixteen_bits_follow_eight_bits(model, change, picture):
    eight = render_pixels(model, change, picture)
    sixteen = render_pixels(model, change, picture.astype(np.uint16) * 257)
    assert sixteen.dtype == np.uint16
    assert np.abs(to_float(sixteen) - to_float(eight)).max() <= 0.51 / 255.0


def test_large_picture_gets_the_change_of_its_working_copy(model, change, picture):
    large = picture.repeat(4, axis=0).repeat(4, axis=1)
    back = render_pixels(model, change, large).reshape(90, 4, 130, 4, 3).mean(axis=(1, 3))
    assert np.abs(back - render_pixels(model, change, picture)).max() < 4.0


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (float("nan"), {}, "target"),
        (101.0, {}, "target"),
        (50.0, {"sampler": "magic"}, "sampler"),
    ],
)
def test_wrong_arguments_are_refused(model, picture, target, options, message):
    with pytest.raises(ValueError, match=message):
        enhance_pixels(model, picture, target, **options)
