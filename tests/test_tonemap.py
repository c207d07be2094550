"""Picking an operator by score: carried renderings, tuned parameters, the command."""

import inspect
import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import qdnet_keras
from qdnet_keras.advice.carry import carry
from qdnet_keras.advice.tonemap import compare_operators, tune_operator
from qdnet_keras.cli import app
from qdnet_keras.evaluation.picks import Pick, judge_pick, summary
from qdnet_keras.photos.files import from_float
from qdnet_keras.synthesis.hdr import mend, normalise, read_scene, shrink, write_exr
from qdnet_keras.synthesis.tmqi import tmqi
from qdnet_keras.synthesis.tone_mapping import FAULTS, OPERATORS, RANGES
from qdnet_keras.synthesis.tone_mapping.opencv import reproducible

BUNDLED = Path(str(resources.files("qdnet_keras") / "samples" / "hdr"))


def radiance(seed: int = 0, size: tuple[int, int] = (72, 96)) -> np.ndarray:
    """Patches of light over ten stops, with colour and texture."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(-5, 5, (5, 6, 1)) + random.uniform(-0.5, 0.5, (5, 6, 3))
    stops = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    return (2 ** (stops + random.normal(0, 0.1, (*size, 1)))).astype(np.float32)


@pytest.fixture(scope="module")
def model(tiny_preset):
    return qdnet_keras.load(tiny_preset)


@pytest.fixture(scope="module")
def result(model):
    return qdnet_keras.tonemap(radiance(), model, tune=2, trials=16, seed=1)


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((first - second) ** 2)))


# --- Carrying a rendering over --------------------------------------------------------------------


def test_a_line_in_log_radiance_is_carried_exactly():
    scene = normalise(radiance(1, (160, 240)))
    small = shrink(scene, 60)
    slope, offset = np.array([0.05, 0.06, 0.04]), np.array([0.4, 0.5, 0.45])
    carried = carry(scene, small, (slope * np.log(small) + offset).astype(np.float32))
    expected = np.clip(slope * np.log(scene) + offset, 0, 1) * 255
    assert np.abs(carried - expected).max() <= 1.5


@pytest.mark.parametrize(
    ("operator", "least"), [("ReinhardTMO", 33), ("drago", 35), ("mertens", 31)]
)
def test_a_carried_rendering_is_near_to_one_made_in_full_size(operator, least):
    scene = normalise(mend(shrink(read_scene(BUNDLED / "courtyard.exr"), 640)))
    small = shrink(scene, 160)
    with reproducible():
        direct, rendering = OPERATORS[operator](scene), OPERATORS[operator](small)
    carried = carry(scene, small, rendering) / 255
    enlarged = cv2.resize(rendering, direct.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    assert psnr(carried, direct) > least
    assert psnr(carried, direct) > psnr(enlarged, direct) + 6


# --- Parameters -----------------------------------------------------------------------------------


def test_ranges_are_of_arguments_that_operators_have_and_hold_their_defaults():
    assert RANGES.keys() == OPERATORS.keys()
    assert not RANGES.keys() & FAULTS.keys()
    for name, ranges in RANGES.items():
        known = inspect.signature(OPERATORS[name]).parameters
        for argument, (low, high) in ranges.items():
            assert low < known[argument].default < high or name == "DurandTMO", (name, argument)
            assert low <= known[argument].default <= high


@pytest.mark.parametrize("name", OPERATORS)
def test_every_parameter_matters_and_renders_at_both_ends(name):
    scene = normalise(radiance(2))
    with reproducible():
        for argument, ends in RANGES[name].items():
            low, high = (OPERATORS[name](scene, **{argument: end}) for end in ends)
            assert np.isfinite(low).all()
            assert np.isfinite(high).all()
            assert np.abs(low - high).mean() > 0.005, argument


def test_tuning_finds_what_a_dense_search_finds(model):
    small = normalise(radiance(3))
    with reproducible():
        (start,) = (c for c in compare_operators(model, small) if c.operator == "drago")
        tuned = tune_operator(model, small, start, trials=40, seed=0)
        low, high = RANGES["drago"]["bias"]
        assert low <= tuned.parameters["bias"] <= high
        dense = [
            qdnet_keras.score(from_float(OPERATORS["drago"](small, bias=b), np.uint8), model).score
            for b in np.linspace(low, high, 41)
        ]
    assert tuned.score >= max(dense) - 0.02 * np.ptp(dense)
    assert tuned.score >= start.score


def test_tuning_keeps_to_ranges_and_trials_and_repeats(model):
    small = normalise(radiance(4))
    made = []
    with reproducible():
        start = compare_operators(model, small)[0]
        tuned, again = (
            tune_operator(model, small, start, 24, 5, lambda *done: made.append(done))
            for _ in range(2)
        )
    assert tuned == again
    assert [done for _, done, total in made] == 2 * [8, 16, 24]
    for name, (low, high) in RANGES[start.operator].items():
        assert low <= tuned.parameters[name] <= high


# --- The pick -------------------------------------------------------------------------------------


def test_every_operator_and_no_fault_is_considered(result):
    untuned = [c.operator for c in result.candidates if not c.tuned]
    assert sorted(untuned) == sorted(OPERATORS)
    scores = [c.score for c in result.candidates]
    assert scores == sorted(scores, reverse=True)
    assert result.best is result.candidates[0]


def test_scores_are_those_of_the_renderings_and_of_the_file(model, result, tmp_path):
    for candidate in result.candidates:
        alone = qdnet_keras.score(candidate.pixels, model).score
        assert candidate.score == pytest.approx(alone, abs=0.01)
    result.save(tmp_path / "best.png")
    assert qdnet_keras.score(tmp_path / "best.png", model).score == pytest.approx(
        result.score, abs=1e-3
    )


def test_only_operators_that_are_named_are_considered(model):
    few = qdnet_keras.tonemap(radiance(), model, operators=["drago", "mertens"], tune=0)
    assert {candidate.operator for candidate in few.candidates} == {"drago", "mertens"}
    for unknown in ([], ["drago", "fault_halo"]):
        with pytest.raises(ValueError, match="Operators are"):
            qdnet_keras.tonemap(radiance(), model, operators=unknown)


def test_a_larger_scene_is_rendered_in_full_size_and_scores_alike(model):
    scene = radiance(5, (300, 400))
    large = qdnet_keras.tonemap(scene, model, tune=1, trials=8, long_side=96)
    assert large.pixels.shape == scene.shape
    assert large.best.pixels.shape == (72, 96, 3)
    shrunk = cv2.resize(large.pixels, (96, 72), interpolation=cv2.INTER_AREA)
    assert psnr(shrunk / 255.0, large.best.pixels / 255.0) > 28


@pytest.mark.parametrize(
    ("scene", "complaint"),
    [
        (np.ones((40, 40), np.float32), "floats"),
        (np.ones((40, 40, 3), np.uint8), "floats"),
        (np.full((40, 40, 3), np.nan), "NaN"),
        (np.zeros((40, 40, 3)), "black"),
        (radiance()[:20], "32 pixels"),
    ],
)
def test_arrays_that_are_no_scenes_are_refused(model, scene, complaint):
    with pytest.raises(qdnet_keras.ImageError, match=complaint):
        qdnet_keras.tonemap(scene, model)


def test_a_pick_is_judged_by_tmqi_among_all_operators(model):
    scene = normalise(radiance(6, (192, 240)))
    pick = judge_pick(model, scene, tune=1, trials=8)
    with reproducible():
        qualities = {
            name: tmqi(scene, from_float(operator(scene), np.uint8)).q
            for name, operator in OPERATORS.items()
        }
    assert pick.quality == pytest.approx(qualities[pick.operator])
    assert pick.mean == pytest.approx(np.mean(list(qualities.values())))
    assert pick.rank == sorted(qualities.values(), reverse=True).index(pick.quality) + 1


def test_summary_of_picks():
    picks = [Pick("drago", 0.8, 0.7, 0.9, 2, 0.85), Pick("mertens", 0.6, 0.7, 0.8, 9, 0.75)]
    assert summary(picks) == pytest.approx(
        {
            "scenes": 2,
            "TMQI of the pick": 0.7,
            "of the average operator": 0.7,
            "of the best operator": 0.85,
            "of the pick, tuned": 0.8,
            "pick above the average": 0.5,
            "tuned above the average": 1.0,
            "pick is TMQI's best": 0.0,
            "pick is best or second": 0.5,
        }
    )


# --- The command ----------------------------------------------------------------------------------


def test_a_fresh_process_writes_the_best_all_and_the_sheet(tiny_preset, tmp_path):
    write_exr(radiance(7, (96, 128)), tmp_path / "scene.exr")
    out, sheet = tmp_path / "out" / "best.png", tmp_path / "sheet.png"
    command = ["tonemap", tmp_path / "scene.exr", "-o", out, "--all", tmp_path / "all"]
    command += ["--sheet", sheet, "--tune", 1, "--trials", 8, "--preset", tiny_preset, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "qdnet_keras", *map(str, command)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    record = json.loads(done.stdout)
    model = qdnet_keras.load(tiny_preset)
    assert record["score"] == pytest.approx(qdnet_keras.score(out, model).score, abs=1e-3)
    assert record["operator"] == record["candidates"][0]["operator"]
    assert {path.stem for path in (tmp_path / "all").iterdir()} == OPERATORS.keys()
    assert {Path(path) for path in record["all"]} == set((tmp_path / "all").iterdir())
    for path in (out, *(tmp_path / "all").iterdir()):
        assert Image.open(path).size == (128, 96)
    assert Image.open(sheet).width > 500


def run(*arguments):
    return CliRunner().invoke(app, ["tonemap", *map(str, arguments)])


def test_what_cannot_be_done_is_said_in_a_sentence(tiny_preset, tmp_path):
    broken, photograph = tmp_path / "broken.exr", tmp_path / "photo.jpg"
    broken.write_bytes(b"no scene")
    Image.new("RGB", (64, 48)).save(photograph)
    write_exr(radiance(), tmp_path / "scene.exr")
    taken, new = tmp_path / "taken.jpg", tmp_path / "new.jpg"
    taken.write_bytes(b"mine")
    options = ("--preset", tiny_preset)
    for arguments, code, complaint in [
        ((broken, "-o", new), 3, "cannot be read as an HDR picture"),
        ((photograph, "-o", new), 3, "is no HDR picture by its suffix"),
        ((tmp_path / "none.hdr", "-o", new), 3, "does not exist"),
        ((tmp_path / "scene.exr", "-o", taken), 7, "--force"),
        ((tmp_path / "scene.exr", "-o", tmp_path / "new.gif"), 7, "unknown suffix"),
        ((tmp_path / "scene.exr", "-o", new, "--preset", tmp_path), 6, "preset"),
    ]:
        refused = run(*arguments, *(() if "--preset" in arguments else options))
        assert refused.exit_code == code, refused.output
        (line,) = refused.stderr.splitlines()
        assert complaint in line
    unknown = run(tmp_path / "scene.exr", "-o", new, "--operators", "fault_halo", *options)
    assert unknown.exit_code == 2
    assert "ReinhardTMO" in unknown.stderr
    assert taken.read_bytes() == b"mine"
    assert not new.exists()
