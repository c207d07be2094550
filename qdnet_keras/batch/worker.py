"""What is done with the files of one part: a row for each, good or bad."""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdnet_keras.batch.sources import read_bytes
from qdnet_keras.errors import ImageError, OutputError
from qdnet_keras.photos.files import Photo, read_photo, write_photo

if TYPE_CHECKING:
    from qdnet_keras.model.qdnet import QDNet

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What is asked for of every photograph.

    Attributes:
        preset: See `qdnet_keras.load`.
        working_size: Long side of the copies that are scored, pixels.
        enhance_to: Folder for renderings; None scores only.
        target: Score that they are rendered at, 0..100.
    """

    preset: str
    working_size: int
    enhance_to: str | None = None
    target: float | None = None


class Worker:
    """Does a job for one part after the other; the network is loaded once, when it is needed."""

    def __init__(self, job: Job):
        self.job = job

    @cached_property
    def model(self) -> "QDNet":
        from qdnet_keras.api import load

        return load(self.job.preset)

    def rows(self, files: list[tuple[str, str]]) -> list[Row]:
        """A row for each `(file, output name)`, with keys of `qdnet_keras.batch.table.COLUMNS`."""
        return [self._row(file, name) for file, name in files]

    def _row(self, file: str, name: str) -> Row:
        row: Row = {"file": file}
        try:
            photo = self._read(file)
            row |= self._score(photo)
            if self.job.enhance_to is not None:
                row |= self._enhance(photo, Path(self.job.enhance_to, name))
        except (ImageError, OutputError) as error:
            row["error"] = str(error)
        return row

    def _read(self, file: str) -> Photo:
        least = None if self.job.enhance_to else self.job.working_size
        return read_photo(read_bytes(file) if "://" in file else file, file, least_side=least)

    def _score(self, photo: Photo) -> Row:
        from qdnet_keras.model.scoring import score_pixels

        score = score_pixels(self.model, photo.srgb, self.job.working_size)
        low, high = score.interval
        return asdict(score) | {"mos_low": low, "mos_high": high}

    def _enhance(self, photo: Photo, path: Path) -> Row:
        from qdnet_keras.api import enhance

        assert self.job.target is not None
        target, size = self.job.target, self.job.working_size
        enhanced = enhance(photo, target, self.model, save_as=path, long_side=size)
        # A part that was cut off is done again, so its renderings may be there.
        notes = write_photo(photo.with_rendered(enhanced.pixels), path, force=True)
        names = ("target", "score_after", "epsilon", "reached")
        told = {name: getattr(enhanced, name) for name in names}
        return told | {"output": str(path), "notes": "; ".join(notes) or None}
