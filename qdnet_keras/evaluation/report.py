"""Tables of an evaluation: Markdown to read, JSON to work with."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qdnet_keras.data.operators import KINDS
from qdnet_keras.evaluation.comparison import (
    SIGNIFICANT,
    Difference,
    Interval,
    Summary,
)
from qdnet_keras.evaluation.protocol import Protocol
from qdnet_keras.files import write_text

FIRST_TABLE = {"srocc": "SROCC", "plcc": "PLCC", "krocc": "KROCC", "rmse": "RMSE"}
FITTED_TABLE = {
    "plcc_4": "PLCC, 4 parameters",
    "rmse_4": "RMSE, 4",
    "plcc_5": "PLCC, 5 parameters",
    "rmse_5": "RMSE, 5",
}


def write_results(
    protocol: Protocol,
    summaries: Sequence[Summary],
    differences: Sequence[Difference],
    notes: Sequence[str],
    folder: Path,
) -> str:
    """Writes `results.md` and `results.json` and returns the text. Raises `OutputError`."""
    text = "\n\n".join(
        [_heading(protocol), *_tables(summaries, differences), *_explained(summaries), *notes]
    )
    write_text(folder / "results.md", text + "\n")
    content = {
        "protocol": protocol.name,
        "methods": [method_record(summary) for summary in summaries],
        "differences": [asdict(difference) for difference in differences],
        "srocc_per_split": {summary.method: summary.per_split for summary in summaries},
        "notes": list(notes),
    }
    write_text(folder / "results.json", json.dumps(finite(content), indent=2) + "\n")
    return text


def method_record(summary: Summary) -> dict[str, Any]:
    """One flat record a method: each figure, and its interval as `<figure>_low` and `_high`."""
    record: dict[str, Any] = {"method": summary.method, "splits": summary.splits}
    for name, interval in summary.figures.items():
        record |= _flat(name, interval)
    record["within_scene_srocc"] = summary.within_scene_srocc
    for kind, interval in summary.kinds.items():
        record |= _flat(f"srocc_{kind}", interval)
    record["seconds_per_picture"] = summary.seconds
    return record


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are aligned, the first to the left."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.rjust(width) if k else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join([first, *others]) + " |"

    rule = [("-" * (width - 1)) + (":" if k else "-") for k, width in enumerate(widths)]
    return "\n".join([line(header), line(rule), *map(line, rows)])


def _heading(protocol: Protocol) -> str:
    scenes = len({r.scene for r in protocol.manifest.renderings})
    groups = len({r.group for r in protocol.manifest.renderings})
    first = protocol.splits[0]
    sizes = f"{len(first.train)} pictures for training, {len(first.test)} for testing"
    count = len(protocol.splits)
    split = f"{count} random 4:1 splits" if protocol.name != "fixed" else "The data's own split"
    merged = len(protocol.duplicates)
    guard = f" {merged} near-duplicate pair(s) between groups." if merged else ""
    return (
        f"{split}, disjoint by group: {len(protocol.manifest)} pictures, {scenes} scenes, {groups} "
        f"groups; {sizes}{' in the first split' if count > 1 else ''}.{guard}"
    )


def _tables(summaries: Sequence[Summary], differences: Sequence[Difference]) -> list[str]:
    columns = [*FIRST_TABLE.values(), "SROCC within a scene", "CPU s a picture"]
    first = [
        [
            s.method,
            *(_cell(s.figures[name]) for name in FIRST_TABLE),
            _number(s.within_scene_srocc),
            _number(s.seconds),
        ]
        for s in summaries
    ]
    fitted = [[s.method, *(_cell(s.figures[name]) for name in FITTED_TABLE)] for s in summaries]
    tables = [
        markdown(["method", *columns], first),
        markdown(["method", *FITTED_TABLE.values()], fitted),
    ]
    kinds = [kind for kind in KINDS if any(kind in s.kinds for s in summaries)]
    if kinds:
        rows = [[s.method, *(_cell(s.kinds[kind]) for kind in kinds)] for s in summaries]
        tables.append(markdown(["SROCC among", *kinds], rows))
    if differences:
        tables.append(_difference_table([s.method for s in summaries], differences))
    return tables


def _difference_table(methods: Sequence[str], differences: Sequence[Difference]) -> str:
    cells = {}
    for d in differences:
        cells[d.first, d.second] = _verdict(d.difference, d.p)
        cells[d.second, d.first] = _verdict(-d.difference, d.p)
    rows = [[row, *(cells.get((row, column), "") for column in methods)] for row in methods]
    return markdown(["p", *methods], rows)


def _verdict(difference: float, p: float) -> str:
    if math.isnan(p):
        return "?"
    sign = "=" if p >= SIGNIFICANT else "+" if difference > 0 else "-"
    return f"{sign} {p:.2g}" if p >= 0.001 else f"{sign} <.001"


def _explained(summaries: Sequence[Summary]) -> list[str]:
    if summaries[0].splits > 1:
        figure = "Medians over the splits; in brackets the 95 % bootstrap interval of the median."
        test = "Wilcoxon signed-rank test of the SROCC over the splits"
    else:
        figure = "In brackets the 95 % bootstrap interval, whole groups resampled."
        test = "paired bootstrap of the SROCC over groups"
    if len(summaries) == 1:
        return [figure]
    return [
        figure,
        f"Last table: p of {test}; the method of the row is significantly (p < {SIGNIFICANT}) "
        "better (+) or worse (-) than that of the column, or not different (=).",
    ]


def _cell(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "-"
    digits = 3 if abs(interval.value) <= 1 else 2
    low, high = (_number(value, digits) for value in (interval.low, interval.high))
    return f"{_number(interval.value, digits)} ({low}..{high})"


def _number(value: float, digits: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _flat(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def finite(value: Any) -> Any:
    """The value with numbers that are not finite replaced by None."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
