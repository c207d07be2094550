"""The card of a trained preset: what it learnt from, what it reaches, and whose terms hold."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import indent

from qdnet_keras.data.manifest import Manifest
from qdnet_keras.data.reading import read_terms
from qdnet_keras.files import write_text
from qdnet_keras.model.presets import CARD, preset_folder

WHOSE = """Whether labels are votes of people or were computed, their data set says."""


def write_card(
    preset: Path, sets: Sequence[Manifest], reached: Mapping[str, float], init: str | None = None
) -> None:
    """Writes `CARD.md` of a preset.

    Args:
        preset: Its folder.
        sets: Pictures that it learnt from.
        reached: Figures on pictures held out, by name.
        init: The preset that the training started from, whose card is repeated.

    Raises:
        DataError: If the terms of a set cannot be read.
        OutputError: If the card cannot be written.
    """
    parts = ["# A trained preset", "**Learnt from.**\n\n" + "\n".join(map(_line, sets)), WHOSE]
    figures = ", ".join(f"{name} {value:.3f}" for name, value in reached.items())
    parts.append(f"**Pictures held out.** {figures}.")
    for manifest in sets:
        if terms := read_terms(manifest):
            parts.append(f"## Terms of {_name(manifest)}\n\n{_quoted(terms)}")
    if init is not None:
        parts.append(f"## Start: preset {Path(init).name}\n\n{_stored(init)}")
    write_text(preset / CARD, "\n\n".join(parts) + "\n")


def _line(manifest: Manifest) -> str:
    mos = manifest.mos
    scenes = len(manifest.by_scene())
    return (
        f"* {_name(manifest)}: {len(manifest)} pictures of {scenes} scenes, "
        f"MOS {mos.min():.1f}..{mos.max():.1f}"
    )


def _name(manifest: Manifest) -> str:
    return manifest.source.resolve().parent.name


def _stored(init: str) -> str:
    card = preset_folder(init) / CARD
    return _quoted(card.read_text(encoding="utf-8") if card.is_file() else "It has no card.")


def _quoted(text: str) -> str:
    return indent(text.strip(), "> ", lambda line: True)
