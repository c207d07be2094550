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
from toy_encoder import toy_encoder
from typer.testing import CliRunner

from qdnet_keras import QDNet
from qdnet_keras.cli import app
from qdnet_keras.data.pairs import training_pairs, training_pictures
from qdnet_keras.data.reading import read_manifest
from qdnet_keras.errors import ConfigError, DataError, OutputError, QDNetError
from qdnet_keras.hubs.card import read_card
from qdnet_keras.model.presets import read_preset_config, read_preset_weights
from qdnet_keras.outcomes import Score
from qdnet_keras.training.config import PRESET_CONFIGS, load_config
from qdnet_keras.training.loop import EpochRecord, train
from qdnet_keras.training.release import calibrate, use_averaged_weights
from qdnet_keras.training.start import build_model, build_optimizer

TRAIN = """
    import sys
    from qdnet_keras.training.config import load_config
    from qdnet_keras.data.reading import read_manifest
    from qdnet_keras.training.loop import train

    _, data, preset, run, resume = sys.argv
    config = load_config("tiny", [f"train.init={preset}"])
    train(read_manifest(data), config, run, resume == "resume")
"""


def write_data(folder):
    """Six scenes in two renderings of 64×64 pixels, the darker one with the lower score."""
    rng = np.random.default_rng(0)
    rows = ["file,mos,scene"]
    for scene in range(6):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
        bright = np.asarray(coarse.resize((64, 64), Image.Resampling.BICUBIC))
        for name, picture, mos in (("bright", bright, 60), ("dark", bright // 3, 30)):
            Image.fromarray(picture).save(folder / f"{scene}_{name}.png")
            rows.append(f"{scene}_{name}.png,{mos + scene},{scene}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


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


def test_run_folder_is_as_documented(runs, tiny):
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
    config = tiny("train.score_steps=100", "train.epochs=1")
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


# === Optimiser and network of a configuration ===


def rates(optimizer, steps):
    values = []
    for step in steps:
        optimizer.iterations.assign(step)
        values.append(float(optimizer.learning_rate))
    return values


def test_paper_decays_the_rate_by_a_fifth_every_seven_epochs():
    optimizer = build_optimizer(load_config("paper").optimizer, steps_per_epoch=10, epochs=50)
    assert isinstance(optimizer, keras.optimizers.SGD)
    assert optimizer.momentum == 0 and not optimizer.use_ema
    assert optimizer.global_clipnorm is None
    expected = [0.01, 0.01, 0.01, 0.008, 0.008, 0.0064]
    np.testing.assert_allclose(rates(optimizer, [0, 60, 69, 70, 139, 140]), expected, rtol=1e-6)


def test_cosine_rises_from_a_tenth_and_falls_to_a_tenth():
    config = load_config("scratch", ["train.epochs=20", "optimizer.learning_rate=1e-3"])
    optimizer = build_optimizer(config.optimizer, steps_per_epoch=100, epochs=config.train.epochs)
    assert isinstance(optimizer, keras.optimizers.Adam)
    assert optimizer.use_ema and optimizer.ema_momentum == 0.995
    assert optimizer.global_clipnorm == 1.0
    half = 1e-3 * (0.1 + 0.9 * 0.5)
    np.testing.assert_allclose(
        rates(optimizer, [0, 100, 1050, 2000]), [1e-4, 1e-3, half, 1e-4], rtol=1e-5
    )
    assert max(rates(optimizer, range(0, 2001, 10))) <= 1e-3 * (1 + 1e-6)


def test_network_of_a_configuration(data, tiny_preset):
    """Built with the training MOS, or started from a preset; fractions become steps."""
    manifest = read_manifest(data)
    overrides = ["train.epochs=10", "loss.kl_warmup=0.25", "loss.cycle_start=0.5", "loss.alpha=7"]
    model = build_model(load_config("tiny", overrides), manifest, steps_per_epoch=4)
    objective, learnt = model.objective, model.calibration
    assert (objective.kl_warmup, objective.cycle_start, objective.alpha) == (10, 20, 7.0)
    np.testing.assert_allclose(learnt.mos_mean, np.mean(manifest.mos), rtol=1e-6)
    np.testing.assert_allclose(learnt.mos_std, np.std(manifest.mos), rtol=1e-6)
    assert model.bank.shape == (12, 16)
    assert model.encoder.application == "ResNet50"

    arguments = read_preset_config(tiny_preset)["model"]
    network = [f"model.{name}={arguments[name]}" for name in ("latent_dim", "posterior_units")]
    network += [f"model.{name}={arguments[name]}" for name in ("scorer_units", "decoder_width")]
    started = load_config("tiny", [*overrides, *network, f"train.init={tiny_preset}"])
    model = build_model(started, manifest, steps_per_epoch=4)
    assert model.encoder.channels == toy_encoder().channels
    assert float(model.calibration.mos_mean) == 50.0  # the preset's, with its scorer
    stored = load_file(tiny_preset / "weights.safetensors")["scorer/hidden_0/kernel"]
    np.testing.assert_array_equal(model.scorer.hidden[0].kernel, stored.astype("float32"))


def parts_taken(overrides, manifest, capsys):
    build_model(load_config("refine", overrides), manifest, steps_per_epoch=1)
    return capsys.readouterr().out.partition(": ")[2].rstrip(".\n").split(", ")


def test_refining_goes_on_from_all_of_a_preset(data, tiny_preset, capsys):
    """Its network is the preset's; what is asked for otherwise starts anew, with what reads it."""
    manifest, start = read_manifest(data), f"train.init={tiny_preset}"
    everything = ["encoder", "posterior", "restorer", "scorer", "decoder"]
    assert parts_taken([start], manifest, capsys) == everything
    anew = parts_taken([start, "model.z_stages=[0, 1]"], manifest, capsys)
    assert anew == ["encoder", "scorer", "decoder"]
    untaught = parts_taken([start, "train.score_steps=0"], manifest, capsys)
    assert untaught == ["encoder", "posterior", "scorer", "decoder"]


def test_stages_that_the_encoder_lacks_are_named(data, tiny_preset):
    config = load_config("tiny", [f"train.init={tiny_preset}", "model.z_stages=[0, 6]"])
    with pytest.raises(ConfigError, match=r"^model.z_stages has 6; .* stages 0 to 5\.$"):
        build_model(config, read_manifest(data), steps_per_epoch=1)


@pytest.mark.parametrize("freeze", ["norm", "encoder"])
def test_what_is_frozen_is_not_trained(data, tiny_preset, freeze):
    overrides = [f"train.init={tiny_preset}", f"train.freeze={freeze}", "data.crop=32"]
    config, manifest = load_config("tiny", overrides), read_manifest(data)
    model = build_model(config, manifest, steps_per_epoch=1)
    encoder = model.encoder.variables
    others = [*model.posterior.variables, *model.scorer.variables, *model.decoder.variables]
    before = [[np.asarray(v) for v in group] for group in (encoder, others)]
    pairs = training_pairs(manifest, training_pictures(manifest), batch_size=2, crop=32)
    model.fit(pairs, steps_per_epoch=1, verbose=0)
    changed, other = (
        {v.path for v, value in zip(group, values, strict=True) if np.any(np.asarray(v) != value)}
        for group, values in zip((encoder, others), before, strict=True)
    )
    assert other
    assert bool(changed) == (freeze == "norm")
    assert not any("_bn/" in path for path in changed)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_accumulated_batches_make_one_update_by_their_mean(accumulate):
    overrides = ["optimizer.name=sgd", "optimizer.learning_rate=0.1", "optimizer.schedule=step"]
    config = load_config("paper", [*overrides, f"optimizer.accumulate={accumulate}"])
    optimizer = build_optimizer(config.optimizer, steps_per_epoch=100, epochs=config.train.epochs)
    weight = keras.Variable(1.0)
    optimizer.build([weight])
    for gradient in (1.0, 2.0, 6.0):
        assert float(weight) == pytest.approx(1.0) or accumulate == 1
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [weight])
    assert float(weight) == pytest.approx(1.0 - 0.1 * 9.0 / accumulate)


# === The network as it is released ===


def test_released_weights_are_the_average(tiny_preset, data):
    model = QDNet.from_preset(tiny_preset)
    model.compile(keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.75))
    model.optimizer.build(model.trainable_variables)
    kernel = model.scorer.hidden[0].kernel
    start = np.asarray(kernel)
    push = [np.full(v.shape, -0.5 if v is kernel else 0.0) for v in model.trainable_variables]
    for _ in range(3):
        model.optimizer.apply(push, model.trainable_variables)
    average = start + 0.75 * (0.75 * 0.5 + 0.25 * 1.0) + 0.25 * 1.5
    use_averaged_weights(model, read_manifest(data), count=2)
    np.testing.assert_allclose(kernel, average, rtol=1e-6)


@pytest.mark.parametrize("sizes", [[(64, 64)], [(64, 64), (48, 64), (64, 40)]])
def test_released_statistics_are_those_of_whole_training_pictures(tiny_preset, tmp_path, sizes):
    """Means and variances over the pictures, whatever their sizes."""
    rng = np.random.default_rng(0)
    pictures, rows = [], ["file,mos"]
    for number in range(6):
        height, width = sizes[number % len(sizes)]
        pictures.append(rng.integers(0, 40 * (number + 1), (height, width, 3), np.uint8))
        Image.fromarray(pictures[-1]).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,50")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    model = QDNet.from_preset(tiny_preset)
    model.compile(keras.optimizers.SGD())
    loc = use_averaged_weights(model, read_manifest(tmp_path), count=6)

    floats = [(picture / 255).astype("float32") for picture in pictures]
    statistics = np.stack([[*p.mean(axis=(0, 1)), *p.std(axis=(0, 1))] for p in floats])
    norm = model.posterior.standardise[model.z_stages.index(0)]
    np.testing.assert_allclose(norm.moving_mean, statistics.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(norm.moving_variance, statistics.var(axis=0), rtol=0.02)
    alone = np.concatenate([model.encode(picture[None]).loc for picture in floats])
    np.testing.assert_allclose(loc, alone, atol=1e-3)


# === Calibration ===


@pytest.fixture
def model():
    model = QDNet(toy_encoder(), scorer_units=(4, 4, 4), decoder_width=16)
    model.build()
    return model


def test_calibrated_scores_are_the_line_through_the_validation_pictures(model):
    z = keras.random.normal((80, 16), seed=1)
    before = np.asarray(model.score_latent(z))
    mos = 1.4 * before - 12.0 + np.random.default_rng(0).normal(0, 1e-3, 80)
    calibrate(model, z, keras.ops.full_like(z, 1e-3), mos)
    np.testing.assert_allclose(model.score_latent(z), mos, atol=0.02)


def test_nine_labels_in_ten_lie_in_the_interval(model):
    """On new pictures as on those that the width was measured on."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((4000, 16)).astype("float32")
    scale = np.full_like(z, 0.3)
    mos = np.asarray(model.score_latent(z)) + rng.standard_t(4, 4000) * 3
    calibrate(model, z[:1000], scale[:1000], mos[:1000])
    score = np.asarray(model.score_latent(z[1000:]))
    spread = model.posterior.spread(model.score_latent, z[1000:], scale[1000:])
    mos_std = np.asarray(model.calibration.spread(spread))
    intervals = [Score(0.0, *pair, 0.0).interval for pair in zip(score, mos_std, strict=True)]
    inside = [low <= y <= high for (low, high), y in zip(intervals, mos[1000:], strict=True)]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize("case", ["few", "falling", "constant"])
def test_scores_are_not_calibrated_on_what_tells_nothing(model, case):
    z = keras.random.normal((20 if case == "few" else 80, 16), seed=1)
    predicted = np.asarray(model.score_latent(z))
    mos = {"few": predicted * 2, "falling": 90 - predicted, "constant": predicted * 0 + 50}[case]
    calibrate(model, z, keras.ops.ones_like(z), mos)
    learnt = model.calibration
    assert [float(v) for v in (learnt.mos_mean, learnt.mos_std, learnt.residual_std)] == [50, 12, 0]
