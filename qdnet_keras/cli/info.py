import json
import platform
from importlib.metadata import version

import typer

from qdnet_keras.cli.common import JsonOption, PresetOption, quiet_start, reports_errors

LIBRARIES = ("tensorflow", "keras", "tensorflow-probability", "numpy", "pillow")


@reports_errors
def info(preset: PresetOption = "open-tm", json_output: JsonOption = False) -> None:
    """Show versions, devices, presets, and what a preset was made from."""
    from qdnet_keras import __version__
    from qdnet_keras.presets import CARD, preset_folder, preset_names, read_preset_config

    folder = preset_folder(preset)
    config = read_preset_config(preset)
    with quiet_start():
        import tensorflow as tf

        devices = [
            device.name.removeprefix("/physical_device:")
            for device in tf.config.list_physical_devices()
        ]
    card = folder / CARD
    record = {
        "qdnet-keras": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "devices": devices,
        "presets": preset_names(),
        "preset": str(preset),
        "config": config["model"],
        "card": card.read_text() if card.is_file() else None,
    }
    if json_output:
        typer.echo(json.dumps(record))
        return
    for name, value in record.items():
        if name not in ("config", "card"):
            typer.echo(f"{name}: {', '.join(value) if isinstance(value, list) else value}")
    for name, value in record["config"].items():
        typer.echo(f"  {name}: {value}")
    typer.echo(f"\n{record['card'] or 'This preset has no card.'}")
