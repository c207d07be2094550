"""Presets: a folder with the network's config, float16 weights and a model card.

config.json          constructor arguments of `QDNet` and the package version
weights.safetensors  every weight under its Keras path; float16, the latent bank float32
CARD.md              what it was trained on, what the labels are, figures, licence
"""

import json
import os
import tempfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from qdnet_keras import __version__
from qdnet_keras.errors import PresetError

if TYPE_CHECKING:
    from qdnet_keras.model.qdnet import QDNet

CONFIG = "config.json"
WEIGHTS = "weights.safetensors"
CARD = "CARD.md"
PARTS = ("encoder", "posterior", "scorer", "decoder")


def preset_names() -> list[str]:
    """Names of the presets that come with the package."""
    folder = resources.files("qdnet_keras") / "presets"
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if (entry / CONFIG).is_file())


def preset_folder(preset: str | Path) -> Path:
    """Folder of a released preset's name, or of a path.

    Raises:
        PresetError: If there is no such preset.
    """
    released = Path(str(resources.files("qdnet_keras"))) / "presets" / str(preset)
    for folder in (Path(preset), released):
        if (folder / CONFIG).is_file():
            return folder
    raise PresetError(
        f"There is no preset {str(preset)!r}; give one of {', '.join(preset_names()) or '(none)'} "
        f"or a folder that holds {CONFIG} and {WEIGHTS}."
    )


def read_preset_config(preset: str | Path) -> dict[str, Any]:
    """`config.json` of a preset: `{"package_version", "model": {constructor arguments}}`."""
    path = preset_folder(preset) / CONFIG
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise PresetError(f"{path} cannot be read ({error}); restore the preset.") from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise PresetError(f"{path} does not describe a network; restore the preset.")
    return config


def load_preset(cls: type["QDNet"], preset: str | Path, **kwargs: Any) -> "QDNet":
    """See `QDNet.from_preset`."""
    config = {**read_preset_config(preset)["model"], **kwargs}
    path = preset_folder(preset) / WEIGHTS
    try:
        model = cls(**config)
        stored = load_file(path)
    except (TypeError, ValueError, KeyError, OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise PresetError(f"{path.parent} cannot be loaded ({reason}); restore it.") from error
    model.build()
    set_weights(model, stored, path)
    return model


def set_weights(model: "QDNet", stored: dict[str, np.ndarray], source: Path) -> None:
    """Assigns stored arrays to the model's weights by path.

    Raises:
        PresetError: If a weight is missing, left over, or of another shape.
    """
    weights = named_weights(model)
    if weights.keys() != stored.keys():
        different = sorted(weights.keys() ^ stored.keys())
        raise PresetError(
            f"{source} does not fit this network: {len(different)} weights differ, "
            f"the first is {different[0]}."
        )
    for name, weight in weights.items():
        if tuple(weight.shape) != stored[name].shape:
            raise PresetError(
                f"{source} does not fit this network: {name} has shape {stored[name].shape}, "
                f"the network wants {tuple(weight.shape)}."
            )
        weight.assign(stored[name].astype("float32"))


def start_from(model: "QDNet", preset: str | Path) -> list[str]:
    """Copies from a preset the parts whose weights have the same shapes in `model`.

    Parts are the encoder, the posterior, the scorer and the decoder. Scores keep the preset's scale
    with its scorer.

    Returns:
        Names of the parts copied.

    Raises:
        PresetError: If no part fits, or the preset cannot be read.
    """
    path = preset_folder(preset) / WEIGHTS
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise PresetError(f"{path} cannot be read ({error}); restore the preset.") from error
    taken = []
    for part in PARTS:
        own = {weight.path for weight in getattr(model, part).weights}
        weights = {n: w for n, w in named_weights(model).items() if w.path in own}
        if all(n in stored and stored[n].shape == tuple(w.shape) for n, w in weights.items()):
            for name, weight in weights.items():
                weight.assign(stored[name].astype("float32"))
            taken.append(part)
    if not taken:
        raise PresetError(f"Nothing of {path.parent} fits this network; choose another train.init.")
    if "scorer" in taken:
        start = read_preset_config(preset)["model"]
        model.mos_mean, model.mos_std = start["mos_mean"], start["mos_std"]
    return taken


def named_weights(model: "QDNet") -> dict[str, Any]:
    """The model's weights under paths that do not depend on its name in this process."""
    weights = {
        weight.path.removeprefix(f"{model.name}/"): weight
        for weight in model.weights
        if "seed_generator" not in weight.path
    }
    return weights


def save_preset(model: "QDNet", folder: str | Path) -> None:
    """See `QDNet.save_to_preset`. The files are replaced one by one, each atomically."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        key: value
        for key, value in model.get_config().items()
        if key not in ("name", "trainable", "dtype")
    }
    text = json.dumps({"package_version": __version__, "model": config}, indent=2) + "\n"
    tensors = {
        name: _compact(name, np.asarray(weight)) for name, weight in named_weights(model).items()
    }
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as temporary:
        (Path(temporary) / CONFIG).write_text(text)
        (Path(temporary) / WEIGHTS).write_bytes(save(tensors))
        for name in (WEIGHTS, CONFIG):
            os.replace(Path(temporary) / name, folder / name)


def _compact(name: str, values: np.ndarray) -> np.ndarray:
    """float16, but float32 for the bank and for values that float16 cannot hold."""
    wide = name == "bank" or np.abs(values).max(initial=0.0) > np.finfo(np.float16).max
    return values.astype("float32" if wide else "float16")
