"""`qdnet-keras pack`: a preset as one file, for other people."""

from pathlib import Path
from typing import Annotated

import typer

from qdnet_keras.cli.common import Force, reserve_output
from qdnet_keras.cli.output import print_json, print_note


def run(
    preset: Annotated[
        str,
        typer.Argument(metavar="PRESET", help="Folder that training wrote, such as RUN/preset."),
    ],
    out: Annotated[Path, typer.Option(metavar="PRESET.zip", help="The zip file to write.")],
    card: Annotated[
        Path | None,
        typer.Option(
            metavar="CARD.md", help="Its card; without it the preset's own, or a new one."
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What the labels are, such as 'votes of 30 people'."),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(metavar="ID", help="Licence of the weights, such as apache-2.0.")
    ] = None,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Pack a preset with its card and hashes as one zip file.

    The zip can be given to --preset as it is, or by its https:// address. Unpacked, it is what
    Hugging Face and Kaggle want: the card is README.md in Hugging Face's form.

    With --json: {"file", "bytes", "sha256", "labels", "data", "licence", "figures"}.
    """
    from qdnet_keras.hubs.bundle import pack
    from qdnet_keras.hubs.card import NOT_STATED, describe, parse_card, read_card, write_card
    from qdnet_keras.model.presets import preset_folder, read_preset_config

    folder = preset_folder(preset)
    model = read_preset_config(folder)["model"]
    reserve_output(out, force)
    name = out.stem
    old = read_card(folder) if card is None else parse_card(card)
    new = old._replace(labels=labels or old.labels, licence=licence or old.licence)
    text = old.text or describe(new, name, model)
    for title, before, now in (
        ("Labels", old.labels, new.labels),
        ("Licence", old.licence, new.licence),
    ):
        text = text.replace(f"**{title}.** {before}.", f"**{title}.** {now}.", 1)
    new = new._replace(text=text)
    digest = pack(folder, out, write_card(new, name))
    if as_json:
        figures = [figure._asdict() for figure in new.figures]
        record = {"file": str(out), "bytes": out.stat().st_size, "sha256": digest}
        facts = {"labels": new.labels, "data": new.data, "licence": new.licence}
        print_json({**record, **facts, "figures": figures})
        return
    for fact, option in ((new.labels, "--labels"), (new.licence, "--licence")):
        if fact == NOT_STATED:
            print_note(f"the card does not say what a stranger asks first; say it with {option}.")
    typer.echo(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
    typer.echo(f"use it: --preset {out}, or from a server: --preset https://.../#sha256={digest}")
