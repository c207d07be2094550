"""`qdnet-keras presets`: what is installed, and what was fetched from elsewhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from qdnet_keras.cli.output import print_json
from qdnet_keras.errors import PresetError


def run(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """List the presets that are installed or were fetched: labels, data, licence, figures.

    With --json: {"preset", "folder", "labels", "data", "licence", "figures"} or {"preset",
    "folder", "error"}; figures is a list of {"on", "name", "value"}.
    """
    for record in _records():
        if as_json:
            print_json(record)
            continue
        typer.echo(record["preset"])
        for name in ("labels", "data", "licence", "figures", "folder", "error"):
            if record.get(name):
                typer.echo(f"  {name:<9}{_text(record[name])}")


def _records() -> Iterator[dict[str, Any]]:
    from qdnet_keras.hubs.fetch import fetched
    from qdnet_keras.model.presets import preset_folder, preset_names

    for name in preset_names():
        yield _record(name, preset_folder(name))
    for found in fetched():
        yield _record(found.address, found.folder)


def _record(preset: str, folder: Path) -> dict[str, Any]:
    from qdnet_keras.hubs.card import read_card

    known: dict[str, Any] = {"preset": preset, "folder": str(folder)}
    try:
        card = read_card(folder)
    except PresetError as error:
        return {**known, "error": str(error)}
    figures = [figure._asdict() for figure in card.figures]
    facts = {"labels": card.labels, "data": list(card.data), "licence": card.licence}
    return {**known, **facts, "figures": figures}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value[0], str):
        return ", ".join(value)
    by_data: dict[str, list[str]] = {}
    for figure in value:
        by_data.setdefault(figure["on"], []).append(f"{figure['name']} {figure['value']:g}")
    return "; ".join(f"{on}: {', '.join(parts)}" for on, parts in by_data.items())
