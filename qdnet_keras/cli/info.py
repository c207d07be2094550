"""`qdnet-keras info`: versions, devices and presets."""

import json
import platform
from importlib.metadata import version
from typing import Annotated

import typer

from qdnet_keras import __version__
from qdnet_keras.cli.common import Preset, import_tensorflow
from qdnet_keras.cli.output import print_json
from qdnet_keras.defaults import DEFAULT_PRESET


def run(
    preset: Preset = DEFAULT_PRESET,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show versions, devices and a preset with its card.

    With --json: {"version", "python", "tensorflow", "keras", "devices", "presets", "preset",
    "config", "card"}.
    """
    from qdnet_keras.hubs.card import card_file
    from qdnet_keras.model.presets import preset_folder, preset_names, read_preset_config

    folder = preset_folder(preset)
    config = read_preset_config(folder)
    card = card_file(folder)
    record = {
        "version": __version__,
        "python": platform.python_version(),
        "tensorflow": version("tensorflow"),
        "keras": version("keras"),
        "devices": _devices(),
        "presets": preset_names(),
        "preset": str(folder),
        "config": config,
        "card": card and card.read_text(encoding="utf-8", errors="replace"),
    }
    if as_json:
        print_json(record)
        return
    for name in ("version", "python", "tensorflow", "keras", "devices", "presets", "preset"):
        value = record[name]
        typer.echo(f"{name:<12}{', '.join(value) if isinstance(value, list) else value}")
    typer.echo("config")
    for name, value in config["model"].items():
        typer.echo(f"  {name:<18}{json.dumps(value)}")
    if record["card"]:
        typer.echo(f"\n{record['card']}")


def _devices() -> list[str]:
    import_tensorflow()
    import tensorflow as tf

    devices = []
    for device in tf.config.list_physical_devices():
        details = tf.config.experimental.get_device_details(device)
        kind = device.device_type
        devices.append(f"{kind} ({details['device_name']})" if "device_name" in details else kind)
    return devices
