"""The card of a trained preset: what it learnt from, what it reaches, and whose terms hold."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import indent
from typing import Any

from qdnet_keras.data.manifest import Manifest
from qdnet_keras.data.reading import read_terms
from qdnet_keras.files import write_text
from qdnet_keras.hubs.bundle import CARD
from qdnet_keras.hubs.card import Card, Figure, describe, read_card, write_card
from qdnet_keras.model.presets import preset_folder


def write_trained_card(
    preset: Path,
    network: dict[str, Any],
    sets: Sequence[Manifest],
    figures: Iterable[Figure],
    init: str | None = None,
) -> None:
    """Writes `CARD.md` of a preset.

    Args:
        preset: Its folder.
        network: Arguments of its network, see `QDNet.get_config`.
        sets: Pictures that it learnt from.
        figures: What it reaches on pictures held out; those that are no numbers are left out.
        init: The preset that the training started from, whose card is repeated.

    Raises:
        DataError: If the terms of a set cannot be read.
        PresetError: If the card of `init` cannot be read.
        OutputError: If the card cannot be written.
    """
    known = tuple(figure for figure in figures if math.isfinite(figure.value))
    card = Card(data=tuple(map(name_of, sets)), figures=known)
    parts = [describe(card, preset.name, network).rstrip()]
    parts.append("**Learnt from.**\n\n" + "\n".join(map(_line, sets)))
    for manifest in sets:
        if terms := read_terms(manifest):
            parts.append(f"## Terms of {name_of(manifest)}\n\n{_quoted(terms)}")
    if init is not None:
        start = read_card(preset_folder(init)).text.strip() or "It has no card."
        parts.append(f"## Start: preset {Path(init).name}\n\n{_quoted(start)}")
    text = "\n\n".join(parts) + "\n"
    write_text(preset / CARD, write_card(card._replace(text=text), preset.name))


def name_of(manifest: Manifest) -> str:
    """The folder of a set, without those above it."""
    return manifest.source.resolve().parent.name


def _line(manifest: Manifest) -> str:
    mos = manifest.mos
    scenes = len(manifest.by_scene())
    return (
        f"* {name_of(manifest)}: {len(manifest)} pictures of {scenes} scenes, "
        f"MOS {mos.min():.1f}..{mos.max():.1f}"
    )


def _quoted(text: str) -> str:
    return indent(text.strip(), "> ", lambda line: True)
