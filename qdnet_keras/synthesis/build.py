"""Tone-mapped data sets made from HDR pictures, in ESPL-LIVE HDR's form, with pseudo-MOS.

The labels are computed from TMQI. Nobody votes: they are pseudo-MOS, never human opinion scores.
"""

import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from qdnet_keras import __version__
from qdnet_keras.errors import ConfigError, ImageError, OutputError
from qdnet_keras.files import (
    make_folder,
    new_file,
    read_table,
    start_run,
    write_bytes,
    write_table,
    write_text,
)
from qdnet_keras.photos.files import from_float
from qdnet_keras.synthesis.edits import MIN_STRENGTH
from qdnet_keras.synthesis.hdr import write_exr
from qdnet_keras.synthesis.light import Array
from qdnet_keras.synthesis.scenes import find_sources, generator, scenes_of
from qdnet_keras.synthesis.tmqi import MIN_SIDE, TMQI, tmqi
from qdnet_keras.synthesis.tone_mapping import FAULTS, OPERATORS
from qdnet_keras.synthesis.tone_mapping.opencv import reproducible
from qdnet_keras.synthesis.tone_mapping.photographic import photographic

IMAGES, LABELS, SCORES, SETTINGS, HDR = "Images", "labels.csv", "scores.txt", "build.json", "hdr"


@dataclass(frozen=True)
class BuildSettings:
    """What a data set is made with; the same settings and pictures make the same data set.

    Attributes:
        seed: Of views, faults and their strengths; each picture has draws of its own.
        views: Views of a panorama; other pictures are taken whole.
        width, height: Of a view, pixels; other pictures are shrunk to fit in.
        operators: Names in `OPERATORS`, each used once a scene.
        faults: How many different ones of `FAULTS` a scene gets.
        keep_hdr: Whether scenes are kept as OpenEXR, for full-reference checks.
    """

    seed: int = 0
    views: int = 4
    width: int = 480
    height: int = 360
    operators: tuple[str, ...] = tuple(OPERATORS)
    faults: int = 3
    keep_hdr: bool = False

    def __post_init__(self) -> None:
        """Raises `ConfigError` for what cannot be built."""
        for name in self.operators:
            if name not in OPERATORS:
                raise ConfigError(f"There is no operator '{name}'; use {', '.join(OPERATORS)}.")
        if len(set(self.operators)) < len(self.operators):
            raise ConfigError("An operator is given twice; give each once.")
        if not 0 <= self.faults <= len(FAULTS):
            raise ConfigError(f"A scene can have 0 to {len(FAULTS)} faults, not {self.faults}.")
        if len(self.operators) + self.faults == 0:
            raise ConfigError("There is nothing to render; give operators or faults.")
        if self.views < 1 or min(self.width, self.height) < MIN_SIDE:
            raise ConfigError(f"A view and {MIN_SIDE} pixels a side are the least to build.")


class Row(NamedTuple):
    """One rendering in `labels.csv`; `strength` is that of a fault, else empty."""

    file: str
    mos: str
    mos_std: str
    scene: str
    group: str
    operator: str
    strength: str
    tmqi_q: str
    tmqi_s: str
    tmqi_n: str


@dataclass
class BuildResult:
    """What a build came to: rows of all renderings, and the pictures that could not be used."""

    rows: list[Row]
    failures: dict[str, ImageError] = field(default_factory=dict)


def build_dataset(
    source: str | Path,
    out: str | Path,
    settings: BuildSettings | None = None,
    *,
    resume: bool = False,
    workers: int | None = None,
    report: Callable[[str, list[Row] | ImageError], None] = lambda name, result: None,
) -> BuildResult:
    """Renders every HDR picture of a folder with all operators and labels the renderings.

    `out` gets `Images/`, `labels.csv` and `scores.txt`, both complete after each picture, and a
    `README.md` that says what the labels are. A group is one picture of `source`, a scene one view.

    Args:
        source: Folder of OpenEXR, Radiance and floating-point TIFF files, and of folders that each
            hold one exposure stack; searched recursively.
        out: New or empty folder, or with `resume` one that a build with the same settings left.
        settings: See there.
        resume: Keep the pictures that are done.
        workers: Pictures worked on at a time; the number of processors without it.
        report: Called with name and rows, or error, of each picture when it is done, in order.

    Raises:
        DataError: If `source` holds no HDR picture, or two of one name.
        OutputError: If `out` is not empty, belongs to other settings or cannot be written.
    """
    settings = settings or BuildSettings()
    sources = find_sources(Path(source))
    out = Path(out)
    try:
        rows = _prepare(out, settings, resume)
        done = {row.group for row in rows}
        waiting = {name: path for name, path in sources.items() if name not in done}
        result = BuildResult(rows)
        places = {name: place for place, name in enumerate(sources)}

        def order(row: Row) -> int:
            return places.get(row.group, len(places))

        with reproducible(), ThreadPoolExecutor(workers or os.cpu_count()) as pool:
            jobs = {
                name: pool.submit(_build_source, name, path, out, settings)
                for name, path in waiting.items()
            }
            try:
                for name, job in jobs.items():
                    outcome = job.result()
                    if isinstance(outcome, ImageError):
                        result.failures[name] = outcome
                    else:
                        result.rows = sorted(result.rows + outcome, key=order)
                        _write_labels(result.rows, out)
                    report(str(sources[name]), outcome)
            finally:
                pool.shutdown(cancel_futures=True)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{out} cannot be written ({reason}).") from error
    return result


def renderings_of(
    scene: Array, settings: BuildSettings, random: np.random.Generator
) -> Iterator[tuple[str, float | None, np.ndarray]]:
    """Operator or fault, the fault's strength, and the rendering, uint8 `[H, W, 3]`."""
    for name in settings.operators:
        yield name, None, from_float(OPERATORS[name](scene), np.uint8)
    for name in random.choice(list(FAULTS), settings.faults, replace=False):
        strength = random.uniform(MIN_STRENGTH, 1)
        yield name, strength, from_float(FAULTS[name].render(scene, strength), np.uint8)


def pseudo_mos(quality: TMQI, sound: TMQI, operator: str, strength: float | None) -> float:
    """Pseudo-MOS, 0..100: 100 Q, and less for faults that TMQI does not see.

    TMQI looks at luminance alone and likes contrast. A deliberate fault therefore counts as no
    better than the sound rendering that it was made from, less `Fault.unseen` times its strength.
    """
    if strength is None:
        return 100 * quality.q
    return max(100 * min(quality.q, sound.q) - FAULTS[operator].unseen * strength, 0.0)


def save_jpeg(rendering: Array, path: Path) -> None:
    """Writes sRGB values in 0..1, or uint8, as JPEG, quality 92, 4:4:4; complete or not at all."""
    pixels = rendering if rendering.dtype == np.uint8 else from_float(rendering, np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92, subsampling=0, optimize=True)
    write_bytes(path, buffer.getvalue())


def _build_source(
    name: str, path: Path, out: Path, settings: BuildSettings
) -> list[Row] | ImageError:
    rows: list[Row] = []
    size = settings.width, settings.height
    try:
        for scene, rgb in scenes_of(
            name, path, views=settings.views, size=size, seed=settings.seed
        ):
            if settings.keep_hdr:
                _write_hdr(rgb, out / HDR / f"{scene}.exr")
            rows += _render_scene(scene, name, rgb, out / IMAGES, settings)
    except ImageError as error:
        return error
    return rows


def _render_scene(
    scene: str, group: str, rgb: Array, images: Path, settings: BuildSettings
) -> Iterator[Row]:
    sound = tmqi(rgb, from_float(photographic(rgb), np.uint8))
    random = generator(settings.seed, scene)
    for operator, strength, pixels in renderings_of(rgb, settings, random):
        file = f"{scene}_{operator}.jpg"
        save_jpeg(pixels, images / file)
        quality = tmqi(rgb, pixels)
        mos = pseudo_mos(quality, sound, operator, strength)
        yield Row(
            file,
            f"{mos:.3f}",
            "",
            scene,
            group,
            operator,
            "" if strength is None else f"{strength:.3f}",
            *(f"{part:.5f}" for part in quality),
        )


def _prepare(out: Path, settings: BuildSettings, resume: bool) -> list[Row]:
    """Makes the folders and returns the rows that an earlier build left."""
    record = {"version": __version__, **asdict(settings)}
    start_run(out, SETTINGS, json.dumps(record, indent=2) + "\n", resume)
    for folder in (IMAGES, *([HDR] if settings.keep_hdr else [])):
        make_folder(out / folder)
    labels = out / LABELS
    return [Row(**row) for row in read_table(labels)] if labels.is_file() else []


def _write_labels(rows: Sequence[Row], out: Path) -> None:
    write_text(out / SCORES, "".join(f"{row.file} {row.mos} 0\n" for row in rows))
    write_text(out / "README.md", _readme(rows))
    write_table(out / LABELS, Row._fields, rows)


def _readme(rows: Sequence[Row]) -> str:
    scenes, groups = ({getattr(row, name) for row in rows} for name in ("scene", "group"))
    penalties = ", ".join(
        f"{name} {fault.unseen:g}" for name, fault in FAULTS.items() if fault.unseen
    )
    return f"""# Tone-mapped pictures with pseudo-MOS

{len(rows)} renderings of {len(scenes)} scenes from {len(groups)} HDR pictures, made by
`qdnet-keras data build` (version {__version__}, settings in `{SETTINGS}`).

**The scores are not human votes.** They are pseudo-MOS: 100 times TMQI (Yeganeh and Wang 2013) of
the rendering and its HDR original. TMQI looks at luminance alone and likes contrast, so a
deliberate fault counts as no better than the sound rendering that it was made from, and some lose
more in proportion to their strength; at full strength: {penalties}.

No votes, hence no standard deviation: `mos_std` is empty in `{LABELS}` and 0 in `{SCORES}`.

`{LABELS}`: `scene`: renderings of one scene form pairs; `group`: the HDR picture that scenes were
cut from, never to be split; `operator`, with `strength` 0..1 where it is a deliberate fault; TMQI
Q with its parts S (structural fidelity) and N (naturalness).
"""


def _write_hdr(scene: Array, path: Path) -> None:
    with new_file(path, ".exr") as file:
        write_exr(scene, Path(file.name))
