import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from toy_encoder import toy_encoder

from qdnet_keras import QDNet
from qdnet_keras.errors import OutputError, PresetError
from qdnet_keras.model.encoder import Encoder
from qdnet_keras.model.presets import (
    CALIBRATION,
    CONFIG,
    WEIGHTS,
    named_weights,
    preset_folder,
    preset_names,
    read_preset_config,
    read_preset_weights,
)
from qdnet_keras.training.start import start_from

FILES = (CALIBRATION, CONFIG, WEIGHTS)


@pytest.fixture
def preset(tiny_preset, tmp_path):
    """A copy of the tiny preset that a test may damage."""
    return shutil.copytree(tiny_preset, tmp_path / "preset")


@pytest.fixture(scope="module")
def model(tiny_preset):
    return QDNet.from_preset(tiny_preset)


def message(call, *arguments):
    """The one sentence of the `PresetError` that a call raises."""
    with pytest.raises(PresetError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    return text


# === What is stored ===


def test_every_weight_is_stored_once(model, tiny_preset):
    stored = read_preset_weights(tiny_preset)
    counted = [weight for weight in model.weights if "seed_generator" not in weight.path]
    assert len(stored) == len(counted)
    assert sum(array.size for array in stored.values()) == sum(
        int(np.prod(weight.shape)) for weight in counted
    )
    kernels = [array for name, array in stored.items() if name.endswith("kernel")]
    assert len(kernels) > 20 and {array.dtype.name for array in kernels} == {"float16"}
    learnt = load_file(tiny_preset / CALIBRATION)
    names = "mos_mean", "mos_std", "residual_std", "quantiles"
    assert learnt.keys() == {f"calibration/{name}" for name in names}
    assert {array.dtype.name for array in (stored["bank"], *learnt.values())} == {"float32"}


def test_statistics_of_tiny_variance_are_stored_as_they_are(tmp_path):
    model = QDNet(toy_encoder(), latent_dim=4, decoder_width=16)
    model.build()
    variance = model.posterior.standardise[0].moving_variance
    values = np.geomspace(1e-12, 1e-3, variance.shape[0]).astype("float32")
    variance.assign(values)
    model.save_to_preset(tmp_path)
    name = next(name for name, weight in named_weights(model).items() if weight is variance)
    np.testing.assert_array_equal(read_preset_weights(tmp_path)[name], values)
    for array in read_preset_weights(tmp_path).values():
        assert array.ndim > 1 or array.dtype == np.float32


def test_loaded_weights_are_the_stored_ones(model, tiny_preset):
    stored = read_preset_weights(tiny_preset)
    for name, weight in named_weights(model).items():
        np.testing.assert_array_equal(weight, stored[name].astype("float32"), err_msg=name)


def test_saving_what_was_loaded_gives_the_same_files(model, tiny_preset, tmp_path):
    """Byte by byte, although this network has another name and process state."""
    for folder in (tmp_path / "first", tmp_path / "deep" / "second"):
        model.save_to_preset(folder)
        assert sorted(file.name for file in folder.iterdir()) == sorted(FILES)
        for file in FILES:
            assert (folder / file).read_bytes() == (tiny_preset / file).read_bytes()


def test_config_has_the_arguments_of_the_network(model, tiny_preset):
    stored = read_preset_config(tiny_preset)["model"]
    own = json.loads(json.dumps(model.get_config()))
    assert stored.items() <= own.items()
    assert not stored.keys() & {"alpha", "beta", "mos_mean", "residual_std"}
    assert (stored["latent_dim"], stored["bank_size"]) == (4, 8)
    assert "dtype" not in stored and "name" not in stored


def test_saving_replaces_an_older_preset(model, preset):
    (preset / WEIGHTS).write_bytes(b"old")
    (preset / "CARD.md").write_text("mine")
    model.save_to_preset(preset)
    assert len(read_preset_weights(preset)) == len(named_weights(model))
    assert (preset / "CARD.md").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_told(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be used as a folder"):
        model.save_to_preset(tmp_path / "file" / "preset")


def test_values_beyond_half_precision_are_stored(model, tmp_path):
    name = "scorer/hidden_0/kernel"
    kernel = named_weights(model)[name]
    before = np.asarray(kernel)
    kernel.assign(np.full(kernel.shape, 1e5, "float32"))
    try:
        model.save_to_preset(tmp_path)
    finally:
        kernel.assign(before)
    np.testing.assert_allclose(
        load_file(tmp_path / WEIGHTS)[name].astype("float32"), 1e5, rtol=1e-3
    )


# === The start of a training ===


def test_parts_that_fit_are_taken_and_the_others_start_anew(tiny_preset):
    config = read_preset_config(tiny_preset)["model"]
    other = QDNet.from_config({**config, "picture_statistics": []})
    other.build()
    other.calibration.mos_mean.assign(40.0)
    before = {name: np.asarray(weight) for name, weight in named_weights(other).items()}
    assert start_from(other, tiny_preset) == ["encoder", "scorer", "decoder"]

    stored = read_preset_weights(tiny_preset)
    for name, weight in named_weights(other).items():
        anew = name.split("/")[0] in ("posterior", "restorer", "novelty", "bank")
        expected = before[name] if anew else stored[name]
        np.testing.assert_array_equal(weight, expected.astype("float32"), err_msg=name)


def test_a_start_that_fits_nowhere(model, preset):
    stored = {name: array[..., None] for name, array in load_file(preset / WEIGHTS).items()}
    save_file(stored, preset / WEIGHTS)
    assert str(preset) in message(start_from, model, preset)


# === Which preset ===


def test_folders_and_names(tiny_preset):
    assert preset_folder(tiny_preset) == preset_folder(str(tiny_preset)) == tiny_preset
    for name in preset_names():
        assert (preset_folder(name) / CONFIG).is_file()


def test_missing_preset(tmp_path):
    assert "'no-such'" in message(QDNet.from_preset, "no-such")
    assert str(tmp_path) in message(QDNet.from_preset, tmp_path)


# === Damaged presets ===


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"model": 3}'])
def test_config_of_another_form(preset, text):
    (preset / CONFIG).write_text(text)
    assert str(preset) in message(QDNet.from_preset, preset)


@pytest.mark.parametrize(
    "change",
    [{"colour": 1}, {"head": "unet"}, {"latent_dim": -1}, {"encoder": {"network": "NoNet"}}],
)
def test_config_with_wrong_arguments(preset, change):
    config = json.loads((preset / CONFIG).read_text())
    config["model"].update(change)
    (preset / CONFIG).write_text(json.dumps(config))
    assert str(preset) in message(QDNet.from_preset, preset)


@pytest.mark.parametrize("file", [WEIGHTS, CALIBRATION])
def test_weights_cut_short(preset, file):
    content = (preset / file).read_bytes()
    (preset / file).write_bytes(content[: len(content) // 2])
    assert str(preset) in message(QDNet.from_preset, preset)


@pytest.mark.parametrize("file", [WEIGHTS, CALIBRATION])
def test_weights_absent(preset, file):
    (preset / file).unlink()
    assert str(preset) in message(QDNet.from_preset, preset)


def test_weights_that_do_not_fit(preset):
    stored = load_file(preset / WEIGHTS)
    name = "scorer/hidden_0/kernel"

    save_file({key: value for key, value in stored.items() if key != name}, preset / WEIGHTS)
    assert name in message(QDNet.from_preset, preset)
    save_file({**stored, "extra": np.zeros(2, "float16")}, preset / WEIGHTS)
    assert "extra" in message(QDNet.from_preset, preset)
    save_file({**stored, name: stored[name][:-1]}, preset / WEIGHTS)
    text = message(QDNet.from_preset, preset)
    assert name in text and "(3, 8)" in text and "(4, 8)" in text


def test_arguments_may_be_replaced(tiny_preset):
    half = QDNet.from_preset(tiny_preset, dtype="mixed_float16", dropout=0.3)
    assert half.dtype_policy.name == half.encoder.dtype_policy.name == "mixed_float16"
    assert half.scorer.dropout == 0.3
    assert half.latent_dim == read_preset_config(tiny_preset)["model"]["latent_dim"]


def test_of_a_network_of_keras_applications_the_config_has_the_name(tmp_path):
    model = QDNet(Encoder(), decoder_width=16)
    model.save_to_preset(tmp_path)
    assert (tmp_path / CONFIG).stat().st_size < 2000
    assert read_preset_config(tmp_path)["model"]["encoder"]["network"] == "ResNet50"
