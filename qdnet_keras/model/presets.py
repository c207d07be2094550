"""Presets: a folder with the network's config, its weights and a model card.

config.json              constructor arguments of `QDNet` and the package version
weights.safetensors      every weight under its Keras path; float16, but float32 for the bank of
                         latents, vectors, scalars and what float16 cannot hold
calibration.safetensors  the learnt scale of the scores, likewise, float32
CARD.md                  what it was trained on, what the labels are, figures, licence

`qdnet_keras.hubs` fetches presets from elsewhere, and packs one's own.
"""

import hashlib
import json
import os
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from qdnet_keras import __version__
from qdnet_keras.errors import PresetError
from qdnet_keras.files import new_folder
from qdnet_keras.hubs.bundle import CALIBRATION, CONFIG, WEIGHTS
from qdnet_keras.hubs.fetch import fetch, is_address

if TYPE_CHECKING:
    import keras

# Of Keras, what may stand in a config: layers and operations of networks, and what these hold.
MODULES = (
    "keras",
    "keras.constraints",
    "keras.initializers",
    "keras.layers",
    "keras.regularizers",
    "keras.src.models.functional",
)
OPERATIONS = "keras.src.ops."
RUNNING_CODE = ("FlaxLayer", "JaxLayer", "Lambda", "TFSMLayer", "TorchModuleWrapper")


def preset_names() -> list[str]:
    """Names of the presets that come with the package."""
    folder = resources.files("qdnet_keras") / "presets"
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if (entry / CONFIG).is_file())


def preset_folder(preset: str | Path) -> Path:
    """Folder of a released preset's name, of a path, or of an address, see `qdnet_keras.hubs`.

    Raises:
        PresetError: If there is no such preset, or it cannot be fetched.
        MissingPackageError: If fetching it needs a package that is not installed.
    """
    if is_address(preset):
        return fetch(os.fspath(preset))
    released = Path(str(resources.files("qdnet_keras"))) / "presets" / str(preset)
    for folder in (Path(preset), released):
        if (folder / CONFIG).is_file():
            return folder
    raise PresetError(
        f"There is no preset {str(preset)!r}; give one of {', '.join(preset_names()) or '(none)'}, "
        f"a folder that holds {CONFIG} and {WEIGHTS}, a zip or an address."
    )


def read_preset_config(preset: str | Path) -> dict[str, Any]:
    """`config.json` of a preset: `{"package_version", "model": {constructor arguments}}`."""
    path = preset_folder(preset) / CONFIG
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise PresetError(f"{path} cannot be read ({error}); restore the preset.") from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise PresetError(f"{path} does not describe a network; restore the preset.")
    _check_classes(config, path)
    return config


def _check_classes(value: Any, path: Path) -> None:
    """Refuses what would make Keras import or run anything but its own layers."""
    if isinstance(value, dict):
        kind, module = value.get("class_name"), str(value.get("module"))
        known = module in MODULES or module.startswith(OPERATIONS)
        own = known and kind not in RUNNING_CODE and value.get("registered_name") in (None, kind)
        if kind not in (None, "__keras_tensor__") and not own:
            raise PresetError(f"{path} names {kind!r}, which is no layer of Keras; it is not used.")
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            _check_classes(part, path)


def preset_hash(preset: str | Path) -> str:
    """SHA-256, hexadecimal, of `config.json`, the weights and the calibration, one after the other.

    Raises:
        PresetError: If there is no such preset or a file cannot be read.
    """
    folder, digest = preset_folder(preset), hashlib.sha256()
    try:
        for name in (CONFIG, WEIGHTS, CALIBRATION):
            digest.update((folder / name).read_bytes())
    except OSError as error:
        raise PresetError(f"{folder} cannot be read ({error}); restore it.") from error
    return digest.hexdigest()


Model = TypeVar("Model", bound="keras.Model")


def load_preset(cls: type[Model], preset: str | Path, **kwargs: Any) -> Model:
    """See `QDNet.from_preset`."""
    folder = preset_folder(preset)
    config = {**read_preset_config(folder)["model"], **kwargs}
    try:
        model = cls.from_config(config)
        model.build()
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise PresetError(f"{folder} cannot be loaded ({reason}); restore it.") from error
    set_weights(model, read_preset_weights(folder), folder)
    return model


def read_preset_weights(preset: str | Path) -> dict[str, np.ndarray]:
    """Every stored weight under its path.

    Raises:
        PresetError: If a file is missing or damaged.
    """
    folder = preset_folder(preset)
    try:
        return {**load_file(folder / WEIGHTS), **load_file(folder / CALIBRATION)}
    except (OSError, SafetensorError) as error:
        raise PresetError(f"{folder} cannot be read ({error}); restore it.") from error


def set_weights(model: "keras.Model", stored: dict[str, np.ndarray], folder: Path) -> None:
    """Assigns stored arrays to the model's weights by path.

    Raises:
        PresetError: If a weight is missing, left over, or of another shape.
    """
    weights = named_weights(model)
    if weights.keys() != stored.keys():
        different = sorted(weights.keys() ^ stored.keys())
        raise PresetError(
            f"{folder} does not fit this network: {len(different)} weights differ, "
            f"the first is {different[0]}."
        )
    for name, weight in weights.items():
        if tuple(weight.shape) != stored[name].shape:
            raise PresetError(
                f"{folder} does not fit this network: {name} has shape {stored[name].shape}, "
                f"the network wants {tuple(weight.shape)}."
            )
        weight.assign(stored[name].astype("float32"))


def named_weights(model: "keras.Model") -> "dict[str, keras.Variable]":
    """The model's weights under paths that do not depend on its name in this process."""
    return {
        weight.path.removeprefix(f"{model.name}/"): weight
        for weight in model.weights
        if "seed_generator" not in weight.path
    }


def save_preset(model: "keras.Model", folder: str | Path) -> None:
    """See `QDNet.save_to_preset`. All files are written before the first is replaced.

    Raises:
        OutputError: If the folder cannot be written.
    """
    folder = Path(folder)
    config = {
        key: value
        for key, value in model.get_config().items()
        if key not in ("name", "trainable", "dtype")
    }
    text = json.dumps({"package_version": __version__, "model": config}, indent=2) + "\n"
    arrays = {name: np.asarray(weight) for name, weight in named_weights(model).items()}
    calibration = {name for name in arrays if name.startswith("calibration/")}
    contents = {
        WEIGHTS: save({n: _compact(n, a) for n, a in arrays.items() if n not in calibration}),
        CALIBRATION: save({name: arrays[name] for name in calibration}),
        CONFIG: text.encode(),
    }
    with new_folder(folder) as unfinished:
        for name, content in contents.items():
            (unfinished / name).write_bytes(content)
        for name in contents:
            os.replace(unfinished / name, folder / name)


def _compact(name: str, values: np.ndarray) -> np.ndarray:
    """float16 for kernels, else float32: it would lose statistics of tiny variance."""
    large = np.abs(values).max(initial=0.0) > np.finfo(np.float16).max
    wide = name == "bank" or values.ndim < 2 or large
    return values.astype("float32" if wide else "float16")
