"""Teaching from votes of several sets and from spoilt photographs, on a tiny network."""

import csv
import json

import keras
import numpy as np
import pytest
from PIL import Image
from toy_encoder import toy_encoder
from typer.testing import CliRunner

from qdnet_keras import QDNet
from qdnet_keras.cli import app
from qdnet_keras.data.published_statistics import COLUMNS, read_statistics
from qdnet_keras.data.reading import read_manifest
from qdnet_keras.errors import ConfigError, DataError, OutputError
from qdnet_keras.model.scoring import score_pixels
from qdnet_keras.training.people import seen, teach
from qdnet_keras.training.people.batches import Batches, Labelled
from qdnet_keras.training.people.config import load_people_config
from qdnet_keras.training.people.finish import calibrate, locate
from qdnet_keras.training.people.joint import JointTraining
from qdnet_keras.training.people.rows import Rows
from qdnet_keras.training.people.sources import Sources
from qdnet_keras.training.people.teachers import VoteTeacher, link, smoothed, together

SETTINGS = (
    "data.liked_part=null",
    "data.photographs=10",
    "data.side=64",
    "data.long_side=64",
    "data.validation_fraction=0.2",
    "batch.photographs=4",
    "batch.first=8",
    "batch.other=4",
    "loss.stride=4",
    "loss.order=10",
    "optimizer.weight_average=0.9",
    "optimizer.learning_rate=1e-2",
    "calibration.bank=8",
    "train.epochs=2",
    "train.rendering_epochs=2",
    "train.steps_per_epoch=25",
)


def write_set(folder, count, header, cells):
    """Smooth pictures of random colours, those of odd number pale."""
    rng = np.random.default_rng(count)
    folder.mkdir()
    rows = [header]
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
        pixels = np.asarray(coarse.resize((80, 64), Image.Resampling.BICUBIC))
        if number % 2:
            pixels = 160 + pixels // 4
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{cells(number)}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return read_manifest(folder)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    first = write_set(folder / "first", 30, "file,mos", lambda n: 70 - 30 * (n % 2) + n / 10)
    second = write_set(folder / "second", 12, "file,mos", lambda n: 50 - 10 * (n % 2) + n / 10)
    operators = ("mertens", "drago", "fault_halo")
    renderings = write_set(
        folder / "renderings", 15, "file,mos,operator", lambda n: f"{40 + n},{operators[n % 3]}"
    )
    rng = np.random.default_rng(0)
    lines = [",".join(("name", "scene", "mos", *COLUMNS))]
    for number in range(40):
        values = rng.uniform(0, 1, len(COLUMNS))
        mos = 40 + 20 * values[20] + rng.normal()
        lines.append(f"a_{number}_GA.PNG,{number},{mos},{','.join(map(str, values))}")
    (folder / "statistics.csv").write_text("\n".join(lines))
    return Sources([first, second], renderings, *read_statistics(folder / "statistics.csv"))


@pytest.fixture(scope="module")
def config():
    return load_people_config("people", SETTINGS)


def tiny():
    keras.utils.set_random_seed(0)
    model = QDNet(
        toy_encoder(),
        latent_dim=4,
        z_stages=(3, 4, 5),
        picture_statistics=("tonal", "published"),
        statistics_dropout=0.1,
        posterior_units=8,
        scorer_units=(16, 16, 16),
        dropout=0.0,
        decoder_width=16,
        bank_size=8,
    )
    model.build()
    return model


@pytest.fixture(scope="module")
def taught(sources, config, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    model = tiny()
    return model, run, teach.teach(model, sources, config, run)


# === The whole ===


def history(folder):
    with (folder / "history.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_loss_falls_and_photographs_end_above_their_spoilt_versions(taught, config):
    model, run, reached = taught
    scores, renderings = (history(run / stage) for stage in ("scores", "renderings"))
    assert len(scores) == len(renderings) == 2
    for name in ("loss", "votes", "reconstruction"):
        assert scores[-1][name] < 0.8 * scores[0][name]
    for name in ("reconstruction", "swap", "restoration"):
        assert renderings[-1][name] < scores[-1][name]
    statistics = np.load(run / "seen" / "spoilt" / "statistics.npy")
    latents = locate(model, seen.split_stages(model, statistics))
    score = np.asarray(model.scorer(latents)).reshape(-1, config.data.versions)
    assert (score[:, :1] > score[:, 1:]).mean() > 0.8
    assert 0 <= reached["order"] <= 1 and len(reached["votes"]) == 2
    assert json.loads((run / "validation.json").read_text()) == reached


def test_renderings_are_learnt_with_scores_as_they_are(taught, sources, tmp_path):
    model, short = taught[0], tiny()
    settings = load_people_config("people", [*SETTINGS, "train.rendering_epochs=0"])
    teach.teach(short, sources, settings, tmp_path / "run")
    for part, is_same in {
        "posterior": True,
        "scorer": True,
        "decoder": False,
        "restorer": False,
    }.items():
        pairs = zip(
            getattr(model, part).get_weights(), getattr(short, part).get_weights(), strict=True
        )
        assert all(np.allclose(*pair, rtol=1e-3, atol=1e-4) for pair in pairs) == is_same


def test_preset_loads_and_scores_as_the_network_that_was_taught(taught):
    model, run, _ = taught
    pixels = np.random.default_rng(1).integers(0, 256, (64, 80, 3), np.uint8)
    loaded = QDNet.from_preset(run / "preset")
    assert score_pixels(loaded, pixels).score == pytest.approx(
        score_pixels(model, pixels).score, abs=1.0
    )
    assert np.asarray(loaded.bank).std() > 0


def test_what_was_seen_is_not_computed_again(taught, sources, config, monkeypatch):
    model, run, reached = taught
    with pytest.raises(OutputError, match="add --resume"):
        teach.teach(tiny(), sources, config, run)

    def refuse(*arguments, **options):
        raise AssertionError("a picture was read again")

    monkeypatch.setattr(seen, "read_photo", refuse)
    monkeypatch.setattr(seen, "same_size_batches", lambda files, side: iter(map(refuse, files)))
    again = tiny()
    assert teach.teach(again, sources, config, run, resume=True) == reached
    for ours, theirs in zip(again.weights, model.weights, strict=True):
        if "seed" not in ours.path:
            np.testing.assert_array_equal(ours, theirs)


def test_command_goes_on_with_a_run(taught, sources, monkeypatch):
    _, run, reached = taught
    monkeypatch.setattr(teach, "build", lambda config: tiny())
    sets = [sources.votes[0], sources.votes[1], sources.renderings]
    names = ("--votes", "--votes", "--renderings")
    words = [str(w) for name, s in zip(names, sets, strict=True) for w in (name, s.source.parent)]
    words += ["--statistics", str(sources.published.source), "--out", str(run)]
    words += [word for setting in SETTINGS for word in ("--set", setting)]
    result = CliRunner().invoke(app, ["teach", *words, "--resume", "--json"])
    assert result.exit_code == 0, result.output
    preset = run / "preset"
    assert json.loads(result.stdout) == {"run": str(run), "preset": str(preset), **reached}
    card = (preset / "CARD.md").read_text()
    for known in sets[:2]:
        learnt = sum(rendering.split != "test" for rendering in known.renderings)
        assert f"* {known.source.parent.name}: {learnt} pictures" in card
    refused = CliRunner().invoke(app, ["teach", *words])
    assert refused.exit_code == OutputError.exit_code
    assert refused.stderr.count("\n") == 1 and "--resume" in refused.stderr


def test_a_run_that_stopped_ends_as_one_that_did_not(
    taught, sources, config, tmp_path, monkeypatch
):
    """It stops in both stages."""
    model, _, _ = taught

    class Stop(teach.EpochRecord):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            if epoch == 0:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(teach, "EpochRecord", Stop)
        for resume in (False, True):
            with pytest.raises(KeyboardInterrupt):
                teach.teach(tiny(), sources, config, tmp_path / "run", resume)
    resumed = tiny()
    teach.teach(resumed, sources, config, tmp_path / "run", resume=True)
    for ours, theirs in zip(resumed.weights, model.weights, strict=True):
        if "seed" not in ours.path:
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    with pytest.raises(OutputError, match=r"pictures\.csv"):
        fewer = sources._replace(votes=[sources.votes[0]])
        teach.teach(tiny(), fewer, config, tmp_path / "run", resume=True)


# === Its parts ===


def test_spoiling_goes_on_after_the_last_batch(sources, config, tmp_path, monkeypatch):
    files = [rendering.file for rendering in sources.votes[0].renderings[:5]]
    monkeypatch.setattr(seen, "BATCH", 2)
    model, made = tiny(), []

    def spoil(file, number, options, seed, fail=None):
        made.append(number)
        if number == fail:
            raise KeyboardInterrupt
        return true_spoil(file, number, options, seed)

    true_spoil = seen.spoil
    monkeypatch.setattr(seen, "spoil", lambda *arguments: spoil(*arguments, fail=3))
    with pytest.raises(KeyboardInterrupt):
        seen.see_spoilt(model, files, tmp_path / "a", config.data, 0)
    made.clear()
    monkeypatch.setattr(seen, "spoil", spoil)
    resumed = seen.see_spoilt(model, files, tmp_path / "a", config.data, 0)
    assert sorted(made) == [2, 3, 4]
    whole = seen.see_spoilt(model, files, tmp_path / "b", config.data, 0)
    np.testing.assert_array_equal(resumed.pictures, whole.pictures)
    np.testing.assert_allclose(resumed.moments, whole.moments, rtol=1e-5)
    assert (whole.strength[:, 0] == 0).all() and (whole.strength[:, 1:] >= 0.25).all()
    mean = whole.pictures.reshape(15, -1, 3).mean(1) / 255
    np.testing.assert_allclose(whole.moments[:, :3], mean, atol=1e-5)


def test_rows_without_room_are_refused(tmp_path):
    with pytest.raises(OutputError, match="GB left"):
        Rows(tmp_path, 10**9, {"pictures": ((384, 384, 3), "uint8")})
    assert not list(tmp_path.iterdir())


def test_partners_are_other_versions_of_the_same_photograph(taught, sources, config, tmp_path):
    model, _, _ = taught
    files = [rendering.file for rendering in sources.votes[0].renderings[:4]]
    spoilt = seen.see_spoilt(model, files, tmp_path, config.data, 0)
    views = [stage + 100 for stage in spoilt.statistics]
    first = Labelled(spoilt.statistics, views, np.arange(12.0, dtype="float32"))
    sets = [first, first]
    batches = Batches(sets, spoilt, np.zeros((4, 3)), np.arange(4), config.batch)
    chosen = np.array([2, 0])
    batch = batches.get(np.random.default_rng(0), chosen)
    own = np.arange(6)
    assert (batch["partner"] != own).all() and (batch["partner"] // 3 == own // 3).all()
    np.testing.assert_array_equal(batch["pictures"][3:], spoilt.pictures[:3])
    first_count, other_count = config.batch.first, config.batch.other
    assert len(batch["votes"]) == first_count + other_count
    assert sorted(batch["mixed"][:first_count]) == list(range(first_count))
    assert (batch["mixed"][first_count:] >= first_count).all()
    assert batch["share"].min() >= 0 and batch["share"].max() < 1
    for (row, view), vote in zip(batch["statistics"][0], batch["votes"], strict=True):
        np.testing.assert_array_equal(row, spoilt.statistics[0][int(vote)])
        np.testing.assert_array_equal(view, row + 100)


def test_another_view_is_the_picture_turned_smaller_and_compressed():
    ramp = np.linspace(0, 1, 96, dtype="float32")
    picture = np.stack(np.broadcast_arrays(ramp[:, None], 0.2 + 0 * ramp, ramp[:, None] / 2), -1)
    for seed in range(12):
        (view,) = seen.other_view(picture[None], np.random.default_rng(seed))
        assert 48 <= view.shape[0] == view.shape[1] <= 96
        upright = min(
            (np.rot90(view, turns) for turns in range(4)), key=lambda p: float(p[:2, :, 0].mean())
        )
        small = np.linspace(0, 1, len(view), dtype="float32")
        np.testing.assert_allclose(upright[..., 0].mean(1), small, atol=0.05)
        np.testing.assert_allclose(upright.mean((0, 1)), picture.mean((0, 1)), atol=0.02)


def test_votes_of_a_set_take_the_place_that_the_regressions_give_its_pictures():
    rng = np.random.default_rng(0)
    first, other = rng.normal(0, 1, (200, 3)), rng.normal(1, 0.5, (100, 3))
    teacher = VoteTeacher([first.astype("float32")], (50 + 10 * first[:, 0]).astype("float32"))
    said = teacher([other.astype("float32")])
    mos = 3 + 0.1 * other[:, 0]
    linked = link(mos, said, unit=2.0)
    assert np.corrcoef(linked, mos)[0, 1] == pytest.approx(1)
    assert linked.mean() == pytest.approx(said.mean(), abs=1e-4)
    assert 0.7 < linked.mean() < 1.2 and linked.std() == pytest.approx(said.std() / 2, rel=1e-4)
    np.testing.assert_allclose(together(linked, linked, 0.75), linked * 1.75 / 1.25, rtol=1e-5)


def test_mixtures_are_of_statistics_and_of_labels_alike(taught, config):
    model = taught[0]
    joint = JointTraining(model, config.loss, 1)
    rng = np.random.default_rng(0)
    widths = seen.stage_widths(model)
    statistics = [rng.normal(0, 1, (4, 2, width)).astype("float32") for width in widths]
    votes, order = rng.normal(0, 1, 4).astype("float32"), np.array([2, 3, 1, 0], "int32")

    def loss(share):
        batch = {"statistics": statistics, "votes": votes, "mixed": order}
        return float(joint._of_mixtures(batch | {"share": np.float32(share)}, training=False))

    score = np.asarray(model.scorer(locate(model, [stage[:, 0] for stage in statistics])))
    assert loss([0, 0, 0, 0]) == pytest.approx(np.square(score - votes).mean(), rel=1e-4)
    assert loss([1, 1, 1, 1]) == pytest.approx(np.square(score - votes).mean(), rel=1e-4)
    half = [(stage[:, 0] + stage[order, 0]) / 2 for stage in statistics]
    error = np.asarray(model.scorer(locate(model, half))) - (votes + votes[order]) / 2
    assert loss([0.5] * 4) == pytest.approx(np.square(error).mean(), rel=1e-4)


def test_smoothed_votes_are_nearer_to_what_all_people_would_say():
    rng = np.random.default_rng(0)
    statistics = [rng.normal(0, 1, (300, 5)).astype("float32")]
    opinion = statistics[0] @ np.array([1.0, -1.0, 0.5, 0, 0])
    votes = opinion + rng.normal(0, 1, 300)
    groups = [str(number // 2) for number in range(300)]

    def error(share):
        return np.square(smoothed(votes, statistics, groups, share) - opinion).mean()

    np.testing.assert_allclose(smoothed(votes, statistics, groups, 0.0), votes)
    assert smoothed(votes, statistics, groups, 0.7).mean() == pytest.approx(votes.mean())
    assert error(0.5) < 0.6 * error(0.0)


def test_calibration_has_the_mean_of_votes_and_as_much_spread_as_it_agrees(taught):
    model = QDNet.from_preset(taught[1] / "preset")
    latents = np.random.default_rng(0).normal(0, 1, (500, 4)).astype("float32")
    votes = np.random.default_rng(1).normal(47, 11, 300).astype("float32")
    calibrate(model, latents, votes, agreement=0.6)
    mos = np.asarray(model.score_latent(latents))
    assert mos.mean() == pytest.approx(votes.mean(), rel=1e-3)
    assert mos.std() == pytest.approx(0.6 * votes.std(), rel=1e-3)
    assert float(model.calibration.residual_std) == pytest.approx(0.8 * votes.std(), rel=1e-3)
    rank = np.asarray(model.calibration.rank(np.float32([np.median(mos)])))
    assert rank == pytest.approx(50, abs=0.5)


# === What is refused ===


def test_published_statistics_are_needed():
    with pytest.raises(ConfigError, match="'published'"):
        load_people_config("people", ["model.picture_statistics=[tonal]"])


def test_a_part_without_photographs_is_told(sources, tmp_path):
    config = load_people_config("people", [*SETTINGS, "data.liked_part=ss09"])
    with pytest.raises(DataError, match="no well-liked photographs of the part ss09"):
        teach.teach(tiny(), sources, config, tmp_path / "run")
