import csv
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from PIL import Image
from safetensors.numpy import load_file
from small_data import write_data
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from qdnet_keras import QDNet
from qdnet_keras.cli import app
from qdnet_keras.data.reading import read_manifest
from qdnet_keras.errors import DataError, OutputError, QDNetError
from qdnet_keras.hubs.card import read_card
from qdnet_keras.model.presets import read_preset_weights
from qdnet_keras.training.config import PRESET_CONFIGS, load_config
from qdnet_keras.training.loop import EpochRecord, train

TRAIN = """
    import sys
    from qdnet_keras.training.config import load_config
    from qdnet_keras.data.reading import read_manifest
    from qdnet_keras.training.loop import train

    _, data, preset, run, resume = sys.argv
    config = load_config("tiny", [f"train.init={preset}"])
    train(read_manifest(data), config, run, resume == "resume")
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def rows_of(run):
    with (run / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def tiny(tiny_preset):
    """The `tiny` configuration on the toy encoder: `tiny("train.epochs=1")`."""

    def load(*overrides):
        return load_config("tiny", [f"train.init={tiny_preset}", *overrides])

    return load


@contextmanager
def training(data, preset, run, resume=""):
    """A training of the `tiny` configuration in a process of its own, on one thread.

    With several, TensorFlow rounds in an order that depends on what else the machine does.
    """
    command = [sys.executable, "-c", textwrap.dedent(TRAIN), data, preset, run, resume]
    log = run.with_suffix(f".{resume}.log")
    with (
        open(log, "w") as output,
        subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, "TF_NUM_INTRAOP_THREADS": "1"}
        ) as one,
    ):
        yield one
    expected = -signal.SIGKILL if run.name == "killed" and not resume else 0
    assert one.returncode == expected, log.read_text()[-3000:]


def kill_in_second_epoch(process, run):
    """Kills a training without warning when it has recorded one epoch."""
    while process.poll() is None:
        if (run / "checkpoint" / "checkpoint").exists() and len(rows_of(run)) == 1:
            time.sleep(0.05)
            process.kill()
            return
        time.sleep(0.02)


@pytest.fixture(scope="module")
def runs(data, tiny_preset, tmp_path_factory):
    """A training in one go, and one that was killed in its second epoch and resumed."""
    folder = tmp_path_factory.mktemp("runs")
    with training(data, tiny_preset, folder / "whole"):
        with training(data, tiny_preset, folder / "killed") as process:
            kill_in_second_epoch(process, folder / "killed")
        assert len(rows_of(folder / "killed")) == 1
        with training(data, tiny_preset, folder / "killed", "resume"):
            pass
    return folder


# === The run folder ===


def test_run_folder_is_as_documented(runs, tiny, data):
    run = runs / "whole"
    assert load_config(run / "config.yaml") == tiny()
    assert yaml.safe_load((run / "config.yaml").read_text())["train"]["epochs"] == 2
    versions = json.loads((run / "versions.json").read_text())
    assert versions["keras"] == keras.__version__ and "python" in versions
    assert {file.name for file in (run / "preset").iterdir()} == {
        "CARD.md",
        "calibration.safetensors",
        "config.json",
        "weights.safetensors",
    }
    reached = json.loads((run / "validation.json").read_text())
    assert reached.keys() == {"srocc", "plcc", "rmse"} and np.isfinite(reached["rmse"])
    figures = read_card(run / "preset").figures
    assert {figure.name: figure.value for figure in figures} == pytest.approx(
        {name.upper(): value for name, value in reached.items()}, abs=1e-4
    )
    pictures = {file.name for file in (run / "pictures").iterdir()}
    assert pictures == {"ladder_002.png", "renderings_002.png"}
    events = EventAccumulator(str(run / "tensorboard" / "pictures")).Reload()
    assert set(events.Tags()["tensors"]) == {"ladder", "renderings"}
    with (run / "validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels, mos = ([float(row[name]) for row in rows] for name in ("label", "mos"))
    assert reached["rmse"] == pytest.approx(
        np.sqrt(np.mean(np.subtract(labels, mos) ** 2)), abs=1e-3
    )
    first = np.asarray(Image.open(data / rows[0]["file"]))
    drawn = np.asarray(Image.open(run / "pictures" / "renderings_002.png"))
    np.testing.assert_array_equal(drawn[: first.shape[0], : first.shape[1]], first)
    assert list((run / "tensorboard" / "train").glob("events.out.tfevents.*"))
    assert (run / "checkpoint" / "checkpoint").is_file()
    assert not list(run.glob(".*"))


def test_history_has_one_row_an_epoch(runs):
    rows = rows_of(runs / "whole")
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert set(rows[0]) == {
        *("epoch", "loss", "score", "kl", "reconstruction", "swap", "cycle"),
        *("val_srocc", "val_plcc", "val_rmse"),
    }
    for row in rows:
        assert np.isfinite([float(row[name]) for name in ("loss", "val_rmse")]).all()
        assert -1 <= float(row["val_srocc"]) <= 1


def test_no_scene_is_on_both_sides(runs):
    with (runs / "whole" / "splits.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    sides = {
        split: {row["scene"] for row in rows if row["split"] == split} for split in ("train", "val")
    }
    assert len(sides["train"]) == 4 and len(sides["val"]) == 2
    assert not sides["train"] & sides["val"]


def test_bank_holds_the_training_pictures(runs):
    bank = load_file(runs / "whole" / "preset" / "weights.safetensors")["bank"]
    assert bank.shape == (8, 4)
    assert (bank.std(axis=0) > 0).all()


def test_scores_first_then_the_decoder_alone(data, tiny, tmp_path):
    config = tiny("train.score_steps=100", "train.epochs=1", "model.latent_dim=16")
    model = train(read_manifest(data), config, tmp_path / "run")
    fit = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert set(fit) == {"srocc", "plcc", "rmse", "residual_std"}
    assert set(rows_of(tmp_path / "run")[0]) == {
        *("epoch", "loss", "score", "kl", "reconstruction", "swap", "cycle"),
    }
    assert fit["residual_std"] > 0
    released = read_preset_weights(tmp_path / "run" / "preset")["calibration/residual_std"]
    assert float(model.calibration.residual_std) == float(released)
    assert float(released) == pytest.approx(fit["residual_std"])

    first = tf.train.load_checkpoint(tmp_path / "run" / "checkpoint" / "ckpt-0")
    last = tf.train.load_checkpoint(tmp_path / "run" / "checkpoint" / "ckpt-1")
    changed = set()
    for number, weight in enumerate(model.weights):
        name = f"weights/{number}/.ATTRIBUTES/VARIABLE_VALUE"
        if (first.get_tensor(name) != last.get_tensor(name)).any():
            changed.add(weight.path.removeprefix(f"{model.name}/").split("/")[0])
    assert changed == {"decoder"}

    again = train(read_manifest(data), config, tmp_path / "run", resume=True)
    for weight, before in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(weight, before, err_msg=weight.path)


@pytest.mark.parametrize("name", PRESET_CONFIGS)
def test_every_configuration_trains_to_the_end(data, tiny_preset, tmp_path, name):
    """By the command, on the toy encoder, a step or two of each kind."""
    overrides = [f"train.init={tiny_preset}", "train.epochs=1", "train.steps_per_epoch=1"]
    overrides += ["data.batch_size=2", "data.crop=32", "data.validation_fraction=0.25"]
    overrides += ["model.encoder_weights=null"]
    if load_config(name).train.score_steps:
        overrides.append("train.score_steps=2")
    options = [word for override in overrides for word in ("--set", override)]
    command = ["train", "--data", data, "--out", tmp_path / "run", "--config", name, "--json"]
    done = CliRunner().invoke(app, [str(word) for word in (*command, *options)])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["epochs"] == 1 and -1 <= record["val_srocc"] <= 1
    assert np.isfinite(record["val_plcc"])
    assert Image.open(tmp_path / "run" / "scores.png").format == "PNG"
    picture = np.random.default_rng(0).random((1, 40, 40, 3), "float32")
    assert np.isfinite(QDNet.from_preset(record["preset"])(picture)["score"]).all()


# === Stop and resume ===


def test_resumed_after_a_kill_the_run_is_complete(runs):
    for name in ("config.yaml", "splits.csv", "preset/config.json"):
        assert (runs / "killed" / name).read_text() == (runs / "whole" / name).read_text()
    assert [row["epoch"] for row in rows_of(runs / "killed")] == ["1", "2"]
    killed, whole = weights_of_run(runs / "killed"), weights_of_run(runs / "whole")
    assert {name: value.shape for name, value in killed.items()} == {
        name: value.shape for name, value in whole.items()
    }


def test_resumed_after_a_kill_the_result_is_the_same(runs):
    """To the last bit."""
    killed, whole = weights_of_run(runs / "killed"), weights_of_run(runs / "whole")
    for name in whole:
        np.testing.assert_array_equal(killed[name], whole[name], err_msg=name)


def weights_of_run(run):
    return load_file(run / "preset" / "weights.safetensors")


def test_a_finished_run_may_be_resumed(runs, data, tiny):
    before = (runs / "whole" / "preset" / "weights.safetensors").read_bytes()
    train(read_manifest(data), tiny(), runs / "whole", resume=True)
    assert (runs / "whole" / "preset" / "weights.safetensors").read_bytes() == before
    assert len(rows_of(runs / "whole")) == 2


def test_an_existing_run_is_not_overwritten(runs, data, tiny):
    with pytest.raises(OutputError, match="choose another folder or add --resume"):
        train(read_manifest(data), tiny(), runs / "whole")
    with pytest.raises(OutputError, match="not made with these settings"):
        other = tiny("loss.beta=0.5")
        train(read_manifest(data), other, runs / "whole", resume=True)
    assert len(rows_of(runs / "whole")) == 2


# === What is refused ===


def test_data_without_both_splits(data, tmp_path):
    rows = (data / "labels.csv").read_text().splitlines()
    text = "\n".join([rows[0] + ",split", *(f"{row},test" for row in rows[1:])])
    (data / "only_test.csv").write_text(text)
    with pytest.raises(DataError, match="no training"):
        train(read_manifest(data / "only_test.csv"), load_config("tiny"), tmp_path / "run")


def test_folder_that_cannot_be_made(data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be used as a folder"):
        train(read_manifest(data), load_config("tiny"), tmp_path / "file" / "run")


def test_loss_that_is_not_a_number_stops_the_training(tmp_path):
    record = EpochRecord(tmp_path / "history.csv", 0, None, None)
    for loss in (np.nan, np.inf):
        with pytest.raises(QDNetError, match=r"no longer a number in epoch 3.*learning_rate"):
            record.on_epoch_end(2, {"loss": loss})
    assert not (tmp_path / "history.csv").exists()
