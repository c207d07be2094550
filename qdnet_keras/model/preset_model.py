"""A Keras model that is kept in a folder as a preset."""

from os import PathLike, fspath
from typing import Any, Self

import keras

from qdnet_keras.model import presets


class PresetModel(keras.Model):
    """Base of models that are loaded from presets and saved as such."""

    @classmethod
    def from_preset(cls, preset: str | PathLike[str], **kwargs: Any) -> Self:
        """Loads a released preset by name, a folder that `save_to_preset` wrote, or an address.

        Args:
            preset: Name, path of a folder or zip, or an address, see `qdnet_keras.load`.
            **kwargs: Constructor arguments that replace those of the preset, e.g. `dtype`.

        Raises:
            PresetError: If it does not exist, is damaged or does not fit.
        """
        return presets.load_preset(cls, fspath(preset), **kwargs)

    def save_to_preset(self, folder: str | PathLike[str]) -> None:
        """Writes config and weights to a folder; see `qdnet_keras.model.presets`.

        Raises:
            OutputError: If the folder cannot be written.
        """
        presets.save_preset(self, fspath(folder))
