"""The protocol: no leaks, the same splits for all, nothing lost by a stop, figures by hand."""

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qdnet_keras.data.manifest import Manifest
from qdnet_keras.data.reading import read_manifest
from qdnet_keras.errors import DataError, ImageError, OutputError
from qdnet_keras.evaluation import protocol as evaluation
from qdnet_keras.evaluation.methods import Options
from qdnet_keras.evaluation.methods.features import FeatureStore

OPERATORS = ("ReinhardTMO", "FattalTMO", "GA", "surreal")
COPY, ORIGINAL = "again", "s3"


def rendering(scene, k):
    rng = np.random.default_rng(scene)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 8, 3), np.uint8))
    smooth = np.asarray(coarse.resize((64, 48), Image.Resampling.BICUBIC), np.float32)
    grain = np.random.default_rng(100 + k).normal(0, 2 + 4 * k, smooth.shape)
    return Image.fromarray(np.clip(smooth * (1 - 0.1 * k) + grain, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Ten scenes in ESPL-LIVE's form; an eleventh scene is scene 3 under another name."""
    folder = tmp_path_factory.mktemp("espl")
    (folder / "Images").mkdir()
    lines = []
    for scene in [*range(10), COPY]:
        for k, operator in enumerate(OPERATORS):
            name = f"H_{scene if scene == COPY else f's{scene}'}_{operator}"
            image = rendering(3 if scene == COPY else scene, k)
            suffix = "jpg" if scene == COPY else "png"
            image.save(folder / "Images" / f"{name}.{suffix}")
            lines.append(f"{name}.{suffix} {62 - 9 * k + len(name) % 3} 9.0")
    (folder / "scores.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def store():
    return FeatureStore(jobs=1)


@pytest.fixture(scope="module")
def manifest(data):
    return read_manifest(data)


def sides(protocol):
    """For each split the renderings of its two sides."""
    rows = np.array(protocol.manifest.renderings, dtype=object)
    return [(rows[split.train], rows[split.test]) for split in protocol.splits]


# --- Leaks ----------------------------------------------------------------------------------------


def test_no_scene_and_no_near_duplicate_crosses_a_split(manifest, store):
    protocol = evaluation.random_protocol(manifest, store, count=40)
    for train, test in sides(protocol):
        assert not {r.scene for r in train} & {r.scene for r in test}
        assert not {r.group for r in train} & {r.group for r in test}
        assert len(train) + len(test) == len(manifest)
        homes = [{r.scene for r in side} & {COPY, ORIGINAL} for side in (train, test)]
        assert sorted(map(len, homes)) == [0, 2]
    assert protocol.duplicates
    files = [r.file.name for r in manifest.renderings]
    found = {(files[pair.first], files[pair.second]) for pair in protocol.duplicates}
    assert all(ORIGINAL in first and COPY in second for first, second in found)


def test_the_guard_is_what_keeps_them_together(manifest, store, monkeypatch):
    monkeypatch.setattr(evaluation, "near_duplicates", lambda *_: [])
    protocol = evaluation.random_protocol(manifest, store, count=40)
    homes = [{r.scene for r in test} & {COPY, ORIGINAL} for _, test in sides(protocol)]
    assert any(len(home) == 1 for home in homes)


def with_splits(manifest, held_out):
    renderings = tuple(
        replace(r, split="test" if r.scene in held_out else "train") for r in manifest.renderings
    )
    return Manifest(renderings, manifest.source)


def test_a_fixed_split_that_leaks_is_refused(manifest, store):
    with pytest.raises(DataError, match=r"H_s3_\w+.png and H_again_\w+.jpg are nearly the same"):
        evaluation.fixed_protocol(with_splits(manifest, {ORIGINAL, "s1"}), store)
    protocol = evaluation.fixed_protocol(with_splits(manifest, {ORIGINAL, COPY, "s1"}), store)
    ((train, test),) = sides(protocol)
    assert Counter(r.scene for r in test) == {ORIGINAL: 4, COPY: 4, "s1": 4}
    assert len(train) == 32
    with pytest.raises(DataError, match="no pictures the split train or none the split test"):
        evaluation.fixed_protocol(manifest, store)


def test_validation_pictures_of_a_fixed_split_play_no_part(manifest, store):
    rows = with_splits(manifest, {ORIGINAL, COPY}).renderings
    rows = tuple(replace(r, split="val") if r.scene == "s0" else r for r in rows)
    ((train, test),) = sides(evaluation.fixed_protocol(Manifest(rows, manifest.source), store))
    assert len(train) == 32 and len(test) == 8
    assert "s0" not in {r.scene for r in (*train, *test)}


def test_an_unreadable_picture_is_told_before_anything_is_trained(data, tmp_path, store):
    (tmp_path / "a.png").write_text("no picture")
    (tmp_path / "labels.csv").write_text("file,mos\na.png,50\n")
    with pytest.raises(ImageError, match=r"a\.png"):
        evaluation.random_protocol(read_manifest(tmp_path), store, count=1)


def test_a_preset_that_was_trained_on_a_test_picture_is_refused(
    manifest, store, tiny_preset, tmp_path
):
    run = tmp_path / "earlier"
    (run / "preset").mkdir(parents=True)
    for name in ("config.json", "weights.safetensors", "calibration.safetensors"):
        (run / "preset" / name).symlink_to(tiny_preset / name)
    protocol = evaluation.random_protocol(manifest, store, count=1)
    ((train, test),) = sides(protocol)

    def evaluate(seen):
        rows = [f"{r.file.name},{r.scene},{r.group},train" for r in seen]
        (run / "splits.csv").write_text("\n".join(["file,scene,group,split", *rows]))
        options = Options(preset=str(run / "preset"))
        return evaluation.evaluate(protocol, ["qdnet"], options, tmp_path / "run", store)

    with pytest.raises(DataError, match=rf"was trained on {test[0].file.name}, which split 000"):
        evaluate([*train, test[0]])
    predictions, notes = evaluate(train)
    assert list(predictions) == ["qdnet@earlier"]
    assert "not trained in this evaluation" in notes[0]


# --- Runs -----------------------------------------------------------------------------------------


@pytest.fixture
def fits(monkeypatch):
    """How often a method was fitted, by its name."""
    from qdnet_keras.evaluation.methods.base import Baseline

    counts = Counter()
    fit = Baseline.fit

    def counted(self, *arguments, **options):
        counts[self.name] += 1
        return fit(self, *arguments, **options)

    monkeypatch.setattr(Baseline, "fit", counted)
    return counts


def run_it(manifest, store, run, count=3, names=("gm-log", "brisque"), seed=0):
    protocol = evaluation.random_protocol(manifest, store, count, seed)
    return evaluation.evaluate(protocol, names, Options(), run, store)[0]


def test_a_run_goes_on_where_it_stopped(manifest, store, tmp_path, fits):
    whole = run_it(manifest, store, tmp_path)
    assert fits == {"gm-log": 3, "brisque": 3}
    (tmp_path / "random-seed0" / "brisque" / "001.csv").unlink()
    again = run_it(manifest, store, tmp_path)
    assert fits == {"gm-log": 3, "brisque": 4}
    for name, predictions in whole.items():
        for one, other in zip(predictions, again[name], strict=True):
            np.testing.assert_array_equal(one.predicted, other.predicted)


def test_splits_and_methods_can_be_added(manifest, store, tmp_path, fits):
    few = run_it(manifest, store, tmp_path, count=1, names=["brisque"])
    more = run_it(manifest, store, tmp_path, count=2)
    assert fits == {"brisque": 2, "gm-log": 2}
    np.testing.assert_array_equal(few["brisque"][0].predicted, more["brisque"][0].predicted)
    run_it(manifest, store, tmp_path, count=1, names=["brisque"])
    header = (tmp_path / "random-seed0" / "splits.csv").read_text().splitlines()[0]
    assert header == "file,scene,group,000,001"
    run_it(manifest, store, tmp_path, count=1, names=["brisque"], seed=5)
    assert (tmp_path / "random-seed5" / "brisque" / "000.csv").is_file()


def test_what_is_written_can_be_repeated(manifest, store, tmp_path):
    predictions = run_it(manifest, store, tmp_path, names=["gm-log"])["gm-log"]
    folder = tmp_path / "random-seed0"
    with (folder / "splits.csv").open(newline="") as file:
        splits = list(csv.DictReader(file))
    mos = {f"Images/{r.file.name}": r.mos for r in manifest.renderings}
    for k, split in enumerate(predictions):
        with (folder / "gm-log" / f"{k:03d}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [r["file"] for r in rows] == [r["file"] for r in splits if r[f"{k:03d}"] == "test"]
        assert [float(r["mos"]) for r in rows] == [mos[r["file"]] for r in rows]
        np.testing.assert_array_equal([float(r["predicted"]) for r in rows], split.predicted)
        assert {r["operator"] for r in rows} == set(OPERATORS)
    with (folder / "near_duplicates.csv").open(newline="") as file:
        assert {Path(row["second"]).suffix for row in csv.DictReader(file)} == {".jpg"}


def test_other_data_in_a_run_are_refused(manifest, store, tmp_path):
    run_it(manifest, store, tmp_path, count=1, names=["gm-log"])
    with pytest.raises(OutputError, match=r"splits\.csv has splits of other data"):
        run_it(manifest.subset(range(24)), store, tmp_path, count=1, names=["gm-log"])


def test_predictions_of_other_settings_are_made_anew(manifest, store, tmp_path, fits):
    run_it(manifest, store, tmp_path, count=1, names=["gm-log"])
    settings = tmp_path / "random-seed0" / "gm-log" / "settings.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "dimension": 41}))
    run_it(manifest, store, tmp_path, count=2, names=["gm-log"])
    assert fits["gm-log"] == 1 + 2
    assert json.loads(settings.read_text())["dimension"] == 40


def test_a_run_that_cannot_be_written(manifest, store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be used as a folder"):
        run_it(manifest, store, tmp_path / "file", count=1)


# --- QD-net ---------------------------------------------------------------------------------------


def test_a_qdnet_is_trained_and_resumed(manifest, store, tiny_preset, tmp_path, monkeypatch):
    """An ablation of the toy network, one step, so that the test stays short."""
    from qdnet_keras.evaluation.methods import qdnet

    protocol = evaluation.random_protocol(manifest, store, count=1)
    network = f"train.init={tiny_preset}"
    overrides = (network, "train.epochs=1", "train.steps_per_epoch=1", "data.crop=32")
    options = Options(config="tiny", overrides=overrides)
    names = ["qdnet-score-only"]

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(qdnet, "score_files", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate(protocol, names, options, tmp_path, store)
    monkeypatch.undo()
    predictions, _ = evaluation.evaluate(protocol, names, options, tmp_path, store)

    run = tmp_path / "random-seed0" / "qdnet-score-only" / "000"
    assert (run / "preset" / "weights.safetensors").is_file()
    assert not (run / "checkpoint").exists()
    with (run / "splits.csv").open(newline="") as file:
        used = {row["file"] for row in csv.DictReader(file)}
    ((train, test),) = sides(protocol)
    assert used == {r.file.name for r in train}
    (split,) = predictions["qdnet-score-only"]
    assert split.predicted.shape == (len(test),) and np.isfinite(split.predicted).all()
    settings = json.loads((run.parent / "settings.json").read_text())
    assert [settings["config"]["loss"][key] for key in ("alpha", "beta", "gamma")] == [0, 0, 0]
