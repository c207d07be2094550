import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from qdnet_keras.defaults import DEFAULT_CONFIG, DEFAULT_PRESET
from qdnet_keras.errors import ConfigError, PresetError
from qdnet_keras.model.presets import read_preset_config
from qdnet_keras.training.config import PRESET_CONFIGS, Config, load_config


def write(folder, text):
    path = folder / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def message(*arguments):
    with pytest.raises(ConfigError) as caught:
        load_config(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


# === What is read ===


@pytest.mark.parametrize("name", PRESET_CONFIGS)
def test_named_configs_survive_a_round_trip(name, tmp_path):
    config = load_config(name)
    assert load_config(write(tmp_path, config.to_yaml())) == config


def test_paper_is_the_recipe_of_the_paper():
    config = load_config("paper")
    assert (config.data.batch_size, config.data.crop, config.data.scale) == (16, 302, (1, 1))
    assert (config.optimizer.name, config.optimizer.learning_rate) == ("sgd", 0.01)
    assert config.optimizer.schedule == "step"
    assert (config.optimizer.decay, config.optimizer.decay_epochs) == (0.8, 7)
    assert config.optimizer.clip_norm is None and config.optimizer.weight_average is None
    assert config.model.dropout == 0.5
    assert config.model.encoder_weights == "imagenet"
    assert (config.model.head, config.model.z_stages) == ("rgb", (5,))
    assert not config.model.picture_statistics


def test_left_out_keys_keep_their_defaults(tmp_path):
    config = load_config(write(tmp_path, "train: {epochs: 3}\nloss:\n"))
    assert config == Config.model_validate({"train": {"epochs": 3}})
    assert load_config(write(tmp_path, "")) == Config()


def test_overrides_come_last_and_are_yaml(tmp_path):
    path = write(tmp_path, "train: {epochs: 3}\ndata: {crop: 64}\n")
    config = load_config(
        path,
        [
            "train.epochs=5",
            "optimizer.learning_rate=1e-3",
            "optimizer.clip_norm=null",
            "data.scale=[0.5, 2]",
            "model.encoder_weights=some=file.h5",
            "train.precision=mixed_float16",
        ],
    )
    assert (config.train.epochs, config.data.crop) == (5, 64)
    assert config.optimizer.learning_rate == 1e-3
    assert config.optimizer.clip_norm is None
    assert config.data.scale == (0.5, 2.0)
    assert config.model.encoder_weights == "some=file.h5"
    assert config.train.precision == "mixed_float16"


@settings(max_examples=30, deadline=None)
@given(
    rate=st.floats(1e-6, 10),
    epochs=st.integers(1, 1000),
    head=st.sampled_from(["grid", "rgb"]),
    clip=st.none() | st.floats(0.1, 10),
)
def test_any_config_survives_a_round_trip(tmp_path_factory, rate, epochs, head, clip):
    overrides = [
        f"optimizer.learning_rate={rate!r}",
        f"train.epochs={epochs}",
        f"model.head={head}",
        f"optimizer.clip_norm={'null' if clip is None else repr(clip)}",
    ]
    config = load_config("tiny", overrides)
    assert config.optimizer.learning_rate == rate
    assert config.optimizer.clip_norm == clip
    path = write(tmp_path_factory.mktemp("configs"), config.to_yaml())
    assert load_config(path) == config


# === What is refused ===


def test_unknown_keys_are_refused_with_the_nearest_known_one(tmp_path):
    path = write(tmp_path, "optimizer: {learning_rat: 0.1}\n")
    text = message(path)
    assert str(path) in text and "optimizer.learning_rat is not a known key" in text
    assert "did you mean optimizer.learning_rate?" in text
    assert "did you mean train?" in message(write(tmp_path, "trian: {epochs: 3}\n"))
    assert "did you mean train.epochs?" in message("tiny", ["train.epoch=3"])
    assert "did you mean data?" in message("tiny", ["dta.crop=64"])
    assert "known are" in message("tiny", ["train.zzzzzz=3"])


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("train.epochs=0", "train.epochs is 0"),
        ("train.epochs=many", "train.epochs is 'many'"),
        ("data.crop=31", "data.crop is 31"),
        ("data.validation_fraction=1", "data.validation_fraction is 1"),
        ("model.dropout=1", "model.dropout is 1"),
        ("model.head=unet", "model.head is 'unet'"),
        ("model.z_stages=[0, -1]", "model.z_stages.1 is -1"),
        ("model.picture_statistics=[tones]", "model.picture_statistics.0 is 'tones'"),
        ("optimizer.learning_rate=-1", "optimizer.learning_rate is -1"),
        ("optimizer.name=lion", "optimizer.name is 'lion'"),
        ("optimizer.weight_average=1", "optimizer.weight_average is 1"),
        ("loss.beta=-0.1", "loss.beta is -0.1"),
        ("train.precision=half", "train.precision is 'half'"),
    ],
)
def test_values_out_of_range_are_named(override, key):
    assert key in message("tiny", [override])


@pytest.mark.parametrize("value", [".nan", ".inf"], ids=["not a number", "infinite"])
def test_values_that_are_no_numbers_are_refused(value):
    assert "optimizer.learning_rate" in message("tiny", [f"optimizer.learning_rate={value}"])


@pytest.mark.parametrize("override", ["epochs=3", "train.epochs", "", "=3", "train.epochs:3"])
def test_overrides_of_another_form(override):
    assert "must have the form section.key=value" in message("tiny", [override])


def test_override_that_is_not_yaml():
    assert "data.scale=[1" in message("tiny", ["data.scale=[1"])


@pytest.mark.parametrize(
    "text",
    [
        "train: {epochs: 3",
        "- train\n- data\n",
        "train: 3\n",
        "just words",
        b"\xff\xfe\x00t",
        "1: {epochs: 3}\n",
    ],
)
def test_files_of_another_form(tmp_path, text):
    path = write(tmp_path, text)
    assert str(path) in message(path)


def test_files_that_cannot_be_read(tmp_path):
    text = message(tmp_path / "absent.yaml")
    assert "cannot be read" in text and "paper, refine, scratch, tiny" in text
    assert "cannot be read" in message(tmp_path)


def test_config_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Config().train.epochs = 3  # type: ignore[misc]


def test_to_yaml_is_plain_yaml():
    values = yaml.safe_load(load_config("paper").to_yaml())
    assert list(values) == ["model", "loss", "data", "optimizer", "train"]
    assert values["data"]["crop"] == 302


def test_the_refining_configuration_starts_from_the_default_preset():
    assert load_config("refine").train.init == DEFAULT_PRESET
    assert DEFAULT_CONFIG in PRESET_CONFIGS


def test_a_training_from_a_preset_has_its_network_but_for_what_is_said_otherwise():
    preset = read_preset_config(DEFAULT_PRESET)["model"]
    network = load_config("refine").model.model_dump(mode="json")
    names = network.keys() & preset.keys() - {"dropout"}
    assert len(names) >= 7
    assert {name: network[name] for name in names} == {name: preset[name] for name in names}
    other = load_config("refine", ["model.latent_dim=3", "model.posterior_units=5"])
    assert (other.model.latent_dim, other.model.posterior_units) == (3, 5)
    assert other.model.scorer_units == tuple(preset["scorer_units"])


def test_a_training_from_no_preset_is_refused():
    with pytest.raises(PresetError, match="There is no preset 'nothing'"):
        load_config("refine", ["train.init=nothing"])
