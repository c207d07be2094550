"""The optimiser and the network that a configuration asks for."""

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file
from small_data import write_data
from toy_encoder import toy_encoder

from qdnet_keras.data.pairs import training_pairs, training_pictures
from qdnet_keras.data.reading import read_manifest
from qdnet_keras.errors import ConfigError
from qdnet_keras.model.presets import read_preset_config
from qdnet_keras.training.config import load_config
from qdnet_keras.training.start import build_model, build_optimizer


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


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
    assert not {id(v) for v in model.restorer.variables} & {
        id(v) for v in model.trainable_variables
    }
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
