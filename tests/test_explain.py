"""Explanations: trials are scores of edited pictures, regions are scores of parts; the command."""

import json
import subprocess
import sys
from functools import partial
from importlib import resources
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import cosine as cosine_distance
from typer.testing import CliRunner

import qdnet_keras
from qdnet_keras.advice.explain import mending
from qdnet_keras.advice.regions import CELLS, region_scores
from qdnet_keras.advice.remedies import REMEDIES
from qdnet_keras.cli import app
from qdnet_keras.defaults import WORKING_SIDE
from qdnet_keras.evaluation.remedies import RIGHT, Verdict, shares
from qdnet_keras.evaluation.spoilt import distance
from qdnet_keras.model.scoring import Seen, score_copies
from qdnet_keras.photos.files import from_float, read_photo, to_float, working_copy
from qdnet_keras.synthesis.edits import EDITS

SAMPLES = Path(str(resources.files("qdnet_keras") / "samples"))


def run(*arguments):
    return CliRunner().invoke(app, ["explain", *map(str, arguments)])


@pytest.fixture(scope="module")
def model(tiny_preset):
    return qdnet_keras.load(tiny_preset)


@pytest.fixture(scope="module")
def restoring(tiny_preset):
    """A network that expects something else of each picture."""
    model = qdnet_keras.load(tiny_preset)
    step = model.restorer.step.kernel
    step.assign(np.random.default_rng(1).normal(0, 0.5, step.shape))
    return model


@pytest.fixture(scope="module")
def released():
    return qdnet_keras.load()


# --- What an explanation says ---------------------------------------------------------------------


def test_trials_are_the_scores_of_edited_pictures(model, photo):
    path = photo("a.png")
    pixels = read_photo(path).pixels
    explanation = qdnet_keras.explain(path, model)
    assert explanation.score == pytest.approx(qdnet_keras.score(path, model).score, abs=1e-3)
    assert {effect.remedy for effect in explanation.effects} == REMEDIES.keys()
    for effect in explanation.effects:
        remedy = REMEDIES[effect.remedy]
        assert [trial.size for trial in effect.trials] == list(remedy.sizes[: len(effect.trials)])
        edited = from_float(remedy.apply(to_float(pixels), effect.best.size), np.uint16)
        alone = qdnet_keras.score(edited, model).score
        assert effect.best.score == pytest.approx(alone, abs=0.01), effect.remedy
        assert effect.best.gain == pytest.approx(effect.best.score - explanation.score, abs=1e-4)
        assert str(effect.best) == f"{effect.best.edit}: {effect.best.gain:+.1f}"


def test_larger_sizes_are_tried_while_they_help(model, photo):
    for effect in qdnet_keras.explain(photo("a.png", seed=3), model).effects:
        steps = [0.0, *(trial.gain for trial in effect.trials)]
        helped = [after > before for before, after in pairwise(steps)]
        assert all(helped[:-1])
        assert not helped[-1] or len(effect.trials) == len(REMEDIES[effect.remedy].sizes)


def test_a_network_that_has_not_learnt_to_restore_puts_the_most_helpful_first(model, photo):
    effects = qdnet_keras.explain(photo("a.png", seed=3), model).effects
    assert not any(trial.mends for effect in effects for trial in effect.trials)
    gains = [effect.best.gain for effect in effects]
    assert gains == sorted(gains, reverse=True)


def test_what_helps_and_mends_most_comes_first(restoring, photo):
    """What mends is what leads the network's quality to the one that it expects of the picture."""
    path = photo("a.png", seed=3)
    pixels = read_photo(path).pixels
    explanation = qdnet_keras.explain(path, restoring)

    before = restoring.encode(to_float(pixels)[None])
    start = np.asarray(before.loc)[0]
    way = np.asarray(before.restored)[0] - start
    for effect in explanation.effects:
        for trial in effect.trials:
            edited = REMEDIES[effect.remedy].apply(to_float(pixels), trial.size)
            went = np.asarray(restoring.encode(edited[None]).loc)[0] - start
            cosine = 1 - cosine_distance(went, way)
            missed = abs(1 - cosine * np.linalg.norm(went) / np.linalg.norm(way))
            mends = 1 - missed if trial.gain > 0 and missed < 1 else 0.0
            assert trial.mends == pytest.approx(mends, abs=0.01)
        assert effect.mends == max(trial.mends for trial in effect.trials)
    order = [(effect.mends, effect.best.gain) for effect in explanation.effects]
    assert order == sorted(order, reverse=True)
    assert 0 < order[0][0] <= 1
    gains = [gain for _, gain in order]
    assert gains != sorted(gains, reverse=True)


def test_mending_is_the_share_of_the_way_to_the_quality_that_is_expected():
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0].astype(np.float32)
    start = np.array([[0.3, -1.0, 2.0]], np.float32)
    before = Seen(np.zeros(1), start, start + 2 * turned[:1])
    steps = {
        "all the way": ([2, 0, 0], 1.0),
        "half of it": ([1, 0, 0], 0.5),
        "half of it too far": ([3, 0, 0], 0.5),
        "twice as far": ([4, 0, 0], 0.0),
        "half of it, at 60 degrees": ([1, 3**0.5, 0], 0.5),
        "sideways": ([0, 0, 5], 0.0),
        "back": ([-1, 0, 0], 0.0),
        "nowhere": ([0, 0, 0], 0.0),
    }
    ways = np.array([step for step, _ in steps.values()], np.float32)
    mended = mending(before, start + ways @ turned)
    expected = [share for _, share in steps.values()]
    np.testing.assert_allclose(mended, expected, atol=1e-5)
    np.testing.assert_array_equal(mending(before._replace(restored=start), start + ways), 0)


def brightness(parts: list[np.ndarray]) -> np.ndarray:
    return np.array([100 * part.mean() for part in parts])


def test_regions_are_low_where_parts_score_low_and_their_mean_is_the_score():
    pixels = np.full((120, 180, 3), 0.8, np.float32)
    pixels[:, 90:] = 0.2
    regions = region_scores(pixels, 40.0, brightness)
    assert regions.shape == (CELLS, CELLS)
    assert regions.mean() == pytest.approx(40.0, abs=1e-4)
    np.testing.assert_allclose(regions, regions[:1].repeat(CELLS, axis=0), atol=1e-4)
    np.testing.assert_allclose(np.diff(regions[0]) <= 1e-4, True)
    assert regions[0, 0] - regions[0, -1] == pytest.approx(60.0, abs=0.1)  # parts of one level each


def test_a_picture_too_narrow_to_be_parted_has_regions_along_its_length():
    assert region_scores(np.zeros((40, 200, 3), np.float32), 7.0, brightness).shape == (1, CELLS)
    alone = region_scores(np.zeros((40, 40, 3), np.float32), 7.0, brightness)
    np.testing.assert_array_equal(alone, [[7.0]])


def test_regions_of_a_picture_are_scores_of_its_parts(model, photo):
    """A corner is covered by one window alone, so corners differ as the scores of windows do."""
    pixels = read_photo(photo("a.png", size=(120, 96))).pixels
    regions = qdnet_keras.explain(pixels, model).regions
    corners = {
        (0, 0): pixels[:48, :60],
        (0, -1): pixels[:48, 60:],
        (-1, 0): pixels[48:, :60],
        (-1, -1): pixels[48:, 60:],
    }
    alone = {at: qdnet_keras.score(np.array(part), model).score for at, part in corners.items()}
    for at, score in alone.items():
        difference = regions[at] - regions[0, 0]
        assert difference == pytest.approx(score - alone[0, 0], abs=0.01)


# --- Whether it is right --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", RIGHT)
def test_a_right_remedy_brings_a_spoilt_photograph_nearer_to_itself(kind):
    original = from_float(
        working_copy(read_photo(SAMPLES / "dog_reinhard.jpg").pixels, 240), np.uint8
    )
    spoilt = EDITS[kind].apply(to_float(original), 0.6, np.random.default_rng(1))
    before = distance(original, from_float(spoilt, np.uint8))["delta_e"]
    mended = (
        from_float(REMEDIES[name].apply(spoilt, size), np.uint8)
        for name in RIGHT[kind]
        for size in REMEDIES[name].sizes
    )
    nearest = min(distance(original, pixels)["delta_e"] for pixels in mended)
    assert nearest < 0.95 * before


def test_every_fault_has_a_right_remedy():
    assert RIGHT.keys() == EDITS.keys()
    assert set.union(*map(set, RIGHT.values())) <= REMEDIES.keys()


def test_shares_of_verdicts():
    verdicts = [
        Verdict("dark", "brighter", 1, True),
        Verdict("dark", "warmer", 3, False),
        Verdict("grey", "cooler", 4, True),
    ]
    assert shares(verdicts) == {
        "dark": {"pictures": 2, "first": 0.5, "first three": 1.0, "nearer": 0.5},
        "grey": {"pictures": 1, "first": 0.0, "first three": 0.0, "nearer": 1.0},
        "all": pytest.approx(
            {"pictures": 3, "first": 1 / 3, "first three": 2 / 3, "nearer": 2 / 3}
        ),
    }


def test_a_darkened_photograph_is_said_to_want_light(released):
    original = to_float(read_photo(SAMPLES / "dog_reinhard.jpg").pixels)
    dark = from_float(EDITS["under"].apply(original, 0.6, np.random.default_rng(0)), np.uint8)
    first = qdnet_keras.explain(dark, released).effects[0]
    assert first.remedy in RIGHT["under"]
    assert first.best.gain > 0


@pytest.mark.parametrize("kind", ["under", "flat"])
def test_the_spoilt_half_of_a_photograph_holds_the_score_down(released, kind):
    """On the left and on the right, so that what the photograph shows does not matter."""
    original = working_copy(read_photo(SAMPLES / "dog_reinhard.jpg").pixels, WORKING_SIDE)
    spoilt = EDITS[kind].apply(original, 0.8, np.random.default_rng(0))
    half = original.shape[1] // 2
    left, right = original.copy(), original.copy()
    left[:, :half], right[:, half:] = spoilt[:, :half], spoilt[:, half:]
    maps = (region_scores(p, 50.0, partial(score_copies, released)) for p in (left, right))
    tilts = [m[:, CELLS // 2 :].mean() - m[:, : CELLS // 2].mean() for m in maps]
    assert tilts[0] > tilts[1] + 2.0


# --- The command ----------------------------------------------------------------------------------


def test_a_fresh_process_tells_and_draws(tiny_preset, photo, tmp_path):
    path, figure = photo("a.jpg", size=(120, 90)), tmp_path / "why.png"
    command = [sys.executable, "-m", "qdnet_keras", "explain", path, "--preset", tiny_preset]
    done = subprocess.run(
        [*map(str, command), "--json", "--figure", str(figure)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    record = json.loads(done.stdout)
    assert record["figures"] == [str(figure)]
    assert len(record["effects"]) == len(REMEDIES)
    assert record["effects"][0]["best_gain"] >= record["effects"][-1]["best_gain"]
    assert np.mean(record["regions"]) == pytest.approx(record["score"], abs=1e-3)
    with Image.open(figure) as drawn:
        assert drawn.width > drawn.height > 300


def test_text_says_the_same_in_sentences(tiny_preset, photo):
    path = photo("a.jpg")
    explanation = qdnet_keras.explain(path, qdnet_keras.load(tiny_preset))
    lines = run(path, "--preset", tiny_preset).stdout.splitlines()
    scores = f"{path} scores {explanation.score:.1f}."
    assert lines[0] == f"{scores} It would score, after an edit, what mends most first:"
    first = explanation.effects[0].standard
    assert lines[2].split(";")[0] == f"  {first.score:5.1f}  {first.gain:+5.1f}  {first.edit}"
    assert sum("by a third of a stop" in line for line in lines) == 2


def test_what_cannot_be_done_is_said_in_a_sentence(tiny_preset, photo, tmp_path):
    good, bad = photo("a.png"), tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    batch = run(bad, good, tmp_path / "none.jpg", "--preset", tiny_preset)
    assert batch.exit_code == 1
    assert f"{good} scores" in batch.stdout
    assert len(batch.stderr.splitlines()) == 2
    assert run(tmp_path / "none.jpg", "--preset", tiny_preset).exit_code == 3
    assert run(good, "--preset", tmp_path).exit_code == 6
    taken = tmp_path / "taken.png"
    taken.write_bytes(b"mine")
    refused = run(good, "--preset", tiny_preset, "--figure", taken)
    assert refused.exit_code == 7
    assert "--force" in refused.stderr
    assert taken.read_bytes() == b"mine"
    assert run(good, bad, "--figure", tmp_path / "two.png").exit_code == 2
