"""What the page says, as HTML: scores with their meaning, the gallery's table, notices."""

import re
from collections.abc import Sequence
from html import escape

from qdnet_keras.app.studio import Picture
from qdnet_keras.outcomes import Enhanced, Explanation
from qdnet_keras.recipes.cube import Cube

REASONS = 5
STRONGEST = 25.0  # points from the score of the whole at which a region's colour is strongest

HEADER = """
<header class="masthead">
  <h1>QD<i>-</i>net</h1>
  <p>How good would people find this photograph, and how would it look better?
  <span>Everything stays on this machine.</span></p>
</header>
"""


def samples(thumbnails: Sequence[str]) -> str:
    """Photographs to begin with: one, or by the index after the last all of them."""
    frames = "".join(
        f'<button type="button" data-index="{index}" aria-label="Sample {index + 1}">'
        f'<img src="{thumbnail}" alt=""></button>'
        for index, thumbnail in enumerate(thumbnails)
    )
    count = len(thumbnails)
    return f"""
<section class="samples"><p>Or begin with a sample</p><div>{frames}</div>
  <button type="button" class="all" data-index="{count}">Take all {count}</button></section>
"""


def score_card(picture: Picture) -> str:
    """The score of a photograph and what it means."""
    score = picture.score
    low, high = score.interval
    novel = "" if score.familiar else _UNFAMILIAR
    return f"""
<section class="card" aria-label="Score">
  <h2 class="file" title="{escape(picture.name)}">{escape(picture.name)}</h2>
  <p class="score"><output id="score">{score.score:.0f}</output><span>of 100</span></p>
  <div class="scale" aria-hidden="true"><i style="width:{score.score:.1f}%"></i></div>
  <p>People would like it better than <b>{score.score:.0f} in 100</b> tone-mapped renderings.</p>
  <p class="mos">Mean opinion score <b id="mos">{score.mos:.0f}</b></p>
  <div class="scale interval" aria-hidden="true">
    <i style="left:{low:.1f}%;width:{high - low:.1f}%"></i><b style="left:{score.mos:.1f}%"></b>
  </div>
  <p class="quiet">Nine opinions in ten lie between
    <span id="interval">{low:.0f} and {high:.0f}</span>.</p>{novel}
</section>
"""


_UNFAMILIAR = """
  <p class="note" id="novelty">This is unlike the photographs that the network has learnt from,
  so its score means little.</p>"""


def reasons(picture: Picture, explanation: Explanation) -> str:
    """What small edits would change, what mends most first, and which regions weigh."""
    best = [effect.best for effect in explanation.effects]
    helpful = [trial for trial in best if trial.gain > 0][:REASONS]
    most = max((trial.gain for trial in helpful), default=1.0)
    edits = "".join(
        f'<li><span>{escape(trial.edit)}</span><b>{trial.gain:+.0f}</b><div class="scale">'
        f'<i style="width:{100 * trial.gain / most:.0f}%"></i></div></li>'
        for trial in helpful
    )
    cells = "".join(
        f'<i style="background:{_heat(cell - explanation.score)}" title="{cell:.0f}"></i>'
        for cell in explanation.regions.flat
    )
    columns = explanation.regions.shape[1]
    return f"""
<section class="card reasons" aria-label="Why this score">
  <h2>Why this score</h2>
  <p class="quiet">{"It would score more with" if helpful else "No small edit would raise it."}</p>
  <ol>{edits}</ol>
  <p class="quiet">Red parts hold it down, blue ones raise it</p>
  <div class="regions"><img src="{picture.thumbnail}" alt="">
    <div style="grid-template-columns:repeat({columns},1fr)">{cells}</div></div>
</section>
"""


def _heat(off: float) -> str:
    """Red for less than the score of the whole, blue for more, stronger the farther off."""
    strength = min(abs(off) / STRONGEST, 1.0) * 0.75
    return f"rgb({'200 40 30' if off < 0 else '30 90 200'} / {strength:.2f})"


def outcome(enhanced: Enhanced) -> str:
    """What became of a target."""
    if enhanced.epsilon == 0.0 and enhanced.reached:
        return _status("It scores that already: nothing was changed.")
    missed = f"{enhanced.target:g} is out of reach for this photograph"
    if enhanced.epsilon == 0.0:
        return _status(f"{missed}: nothing was changed.")
    after = f'The rendering scores <b id="after">{enhanced.score_after:.0f}</b>'
    return _status(f"{after}, {_compared(enhanced)}{'' if enhanced.reached else f'; {missed}'}.")


def _compared(enhanced: Enhanced) -> str:
    gain = enhanced.score_after - enhanced.score_before
    return f"{abs(gain):.0f} {'more' if gain >= 0 else 'less'} than the original"


def saved(name: str, enhanced: Enhanced, notes: Sequence[str]) -> str:
    """What was written for a download."""
    said = "; ".join(escape(note) for note in notes)
    kept = f"Not kept: {said}." if said else "Format and metadata are those of the original."
    return _status(
        f'{escape(name)} scores <b id="after">{enhanced.score_after:.0f}</b>. '
        f'<span class="quiet">{kept}</span>'
    )


def saved_recipe(name: str) -> str:
    """What a recipe is for."""
    return _status(f"{escape(name)} does the same to other frames: qdnet-keras apply.")


def saved_cube(name: str, cube: Cube) -> str:
    """What a colour table holds."""
    return _status(
        f"{escape(name)} holds what is the same all over the picture: of a change of "
        f"ΔE {cube.made:.1f} it leaves out {cube.left:.1f}."
    )


def _status(text: str) -> str:
    return f'<p class="status" role="status">{text}</p>'


def working(done: int, count: int) -> str:
    """How far a batch is."""
    return (
        f'<div class="status" role="status"><p>Scoring {done + 1} of {count}</p>'
        f'<div class="scale"><i style="width:{100 * done / count:.0f}%"></i></div></div>'
    )


def notices(sentences: Sequence[str]) -> str:
    """What went wrong, a sentence each."""
    if not sentences:
        return ""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="notices" role="alert">{items}</ul>'


def filmstrip(pictures: Sequence[Picture], current: int) -> str:
    """Buttons to go from one photograph to another."""
    if len(pictures) < 2:
        return ""
    frames = [
        f'<button type="button" data-index="{index}" '
        f'aria-pressed="{"true" if index == current else "false"}" '
        f'aria-label="{escape(picture.name)}, score {picture.score.score:.0f}">'
        f'<img src="{picture.thumbnail}" alt=""><span>{picture.score.score:.0f}</span></button>'
        for index, picture in enumerate(pictures)
    ]
    return f'<nav class="filmstrip" aria-label="Photographs">{"".join(frames)}</nav>'


COLUMNS = ("Photograph", "Score", "MOS", "Note")


def ranking(pictures: Sequence[Picture]) -> str:
    """A table of all photographs, best first; its headers sort it, its rows open a photograph."""
    heads = "".join(
        f'<th scope="col" aria-sort="{"descending" if title == "Score" else "none"}">'
        f'<button type="button" data-column="{column}">{title}</button></th>'
        for column, title in enumerate(COLUMNS)
    )
    order = sorted(range(len(pictures)), key=lambda index: -pictures[index].score.score)
    rows = "".join(_row(index, pictures[index]) for index in order)
    return f'<table class="ranking"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'


def _row(index: int, picture: Picture) -> str:
    score = picture.score
    low, high = score.interval
    note = "" if score.familiar else "unlike what it knows"
    return f"""
<tr data-index="{index}">
  <td data-value="{escape(picture.name.lower())}"><button type="button" class="open">
    <img src="{picture.thumbnail}" alt=""><span>{_breakable(picture.name)}</span></button></td>
  <td data-value="{score.score}"><span class="number">{score.score:.1f}</span>
    <div class="scale" aria-hidden="true"><i style="width:{score.score:.1f}%"></i></div></td>
  <td data-value="{score.mos}"><span class="number">{score.mos:.1f}</span>
    <span class="quiet">{low:.0f}–{high:.0f}</span></td>
  <td data-value="{note}"><span class="note">{note}</span></td>
</tr>"""


def _breakable(name: str) -> str:
    """The name of a file, which a narrow column may break where its parts end."""
    return re.sub("([_.-])", r"\1<wbr>", escape(name))
