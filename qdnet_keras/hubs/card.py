"""A preset's card, in Hugging Face's form: a head of YAML between lines of `---`, then text.

The head has `license`, `datasets`, `labels` (what the labels are, in a few words) and figures as a
`model-index`, by the data that they were measured on; the text is for people.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from qdnet_keras.errors import PresetError
from qdnet_keras.files import reason
from qdnet_keras.hubs.bundle import CARD, README, TEXT_LIMIT

TAGS = ("qdnet-keras", "image-quality-assessment", "tone-mapping", "hdr")
NOT_STATED = "not stated"


class Figure(NamedTuple):
    """What a preset reaches on some data, such as `SROCC` 0.77 on `BIQ2021, test split`."""

    on: str
    name: str
    value: float


class Card(NamedTuple):
    """What is known of a preset; `text` is Markdown."""

    labels: str = NOT_STATED
    data: tuple[str, ...] = ()
    licence: str = NOT_STATED
    figures: tuple[Figure, ...] = ()
    text: str = ""


def card_file(folder: Path) -> Path | None:
    """The file with a preset's card, if there is one."""
    return next((folder / name for name in (CARD, README) if (folder / name).is_file()), None)


def read_card(folder: Path) -> Card:
    """The card of a preset; an empty one where there is none.

    Raises:
        PresetError: If it cannot be read, or its head is not as described above.
    """
    path = card_file(folder)
    return Card() if path is None else parse_card(path)


def parse_card(path: Path) -> Card:
    """The card in a file. Raises as `read_card`."""
    try:
        if path.stat().st_size > TEXT_LIMIT:
            raise ValueError("it is too large")
        head, text = _split(path.read_text(encoding="utf-8"))
        return _card(head, text)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise PresetError(f"The card {path} cannot be read ({reason(error)}); mend it.") from error


def write_card(card: Card, name: str) -> str:
    """The text of a card file, which `parse_card` reads, for a preset that is called `name`."""
    head: dict[str, Any] = {"library_name": "keras", "tags": list(TAGS)}
    if card.licence != NOT_STATED:
        head["license"] = card.licence
    if card.data:
        head["datasets"] = list(card.data)
    if card.labels != NOT_STATED:
        head["labels"] = card.labels
    if card.figures:
        head["model-index"] = [{"name": name, "results": _results(card.figures)}]
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n{card.text}"


def describe(card: Card, name: str, model: dict[str, Any]) -> str:
    """The text of a card for people, from what it says to programs and a network's arguments."""
    rows = [f"| {figure.on} | {figure.name} | {figure.value:.3f} |" for figure in card.figures]
    figures = (
        ["**Figures.**\n", "| on | measure | value |", "|---|---|---|", *rows, ""] if rows else []
    )
    encoder = model["encoder"]["network"]
    encoder = encoder if isinstance(encoder, str) else "one of its own"
    return "\n".join(
        [
            f"# {name}\n",
            "QD-net for qdnet-keras: scores tone-mapped photographs and renders them at the score "
            "asked for.\n",
            f"**Labels.** {card.labels}.\n",
            f"**Data.** {', '.join(card.data) or NOT_STATED}.\n",
            *figures,
            f"**Network.** Encoder {encoder}, head {json.dumps(model.get('head', 'grid'))}, "
            f"{model.get('latent_dim', 16)} latent dimensions.\n",
            f"**Licence.** {card.licence}.\n",
        ]
    )


def _split(text: str) -> tuple[dict[str, Any], str]:
    if not text.startswith("---\n"):
        return {}, text
    head, separator, rest = text[4:].partition("\n---\n")
    if not separator:
        raise ValueError("its head has no end")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(head, yaml.CSafeLoader)):
            raise ValueError("its head has references")
        return yaml.load(head, yaml.CSafeLoader) or {}, rest  # refuses deep nesting at once
    except yaml.YAMLError as error:
        raise ValueError("its head is not YAML") from error


def _card(head: dict[str, Any], text: str) -> Card:
    datasets = head.get("datasets") or []
    return Card(
        labels=str(head.get("labels") or NOT_STATED),
        data=tuple(map(str, [datasets] if isinstance(datasets, str) else datasets)),
        licence=str(head.get("license_name") or head.get("license") or NOT_STATED),
        figures=tuple(
            Figure(str(result["dataset"]["name"]), str(metric["name"]), float(metric["value"]))
            for model in head.get("model-index") or []
            for result in model["results"]
            for metric in result["metrics"]
        ),
        text=text,
    )


def _results(figures: tuple[Figure, ...]) -> list[dict[str, Any]]:
    return [
        {
            "task": {"type": "image-quality-assessment"},
            "dataset": {"type": "image", "name": on},
            "metrics": [
                {"type": figure.name.lower(), "name": figure.name, "value": figure.value}
                for figure in figures
                if figure.on == on
            ],
        }
        for on in dict.fromkeys(figure.on for figure in figures)
    ]
