"""Features of pictures: computed once, on all cores, and kept on disk."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from qdnet_keras import __version__
from qdnet_keras.errors import ImageError
from qdnet_keras.files import new_file, reason
from qdnet_keras.photos.files import read_photo

Describe = Callable[[np.ndarray], np.ndarray]
Progress = Callable[[str, int, int], None]
Result = tuple[np.ndarray, float] | ImageError
SAVE_EVERY_S = 30.0
ALONE_S = 2.0
AHEAD = 4


@runtime_checkable
class Describes(Protocol):
    """What has features.

    Attributes:
        cache_name: Name of the features, different for different features.
        in_process: Whether `describe` must be called in this process.
        describe: Pixels, uint8 or uint16 `[H, W, 3]` → features, float32 `[dimension]`.
    """

    @property
    def cache_name(self) -> str: ...

    @property
    def in_process(self) -> bool: ...

    @property
    def describe(self) -> Describe: ...


class FeatureStore:
    """Features by method and file.

    A file that has changed in size or date is described anew, and so is everything after an update
    of this package. What is known is saved while the work goes on, so that it survives a stop.

    Args:
        folder: One `.npz` a method is kept here; None: in memory only.
        jobs: Number of processes; None: as many as there are cores.
        progress: Called with the features' name, the number of pictures done and their total.
    """

    def __init__(
        self, folder: Path | None = None, jobs: int | None = None, progress: Progress | None = None
    ):
        self.folder = folder
        self.jobs = jobs or _cores()
        self.progress = progress
        self.known: dict[str, dict[str, np.ndarray]] = {}
        self.seconds: dict[str, dict[str, float]] = {}

    def get(self, method: Describes, images: Sequence[str | Path]) -> np.ndarray:
        """Features of `images`, float32 `[N, dimension]`.

        Raises `ImageError` if pictures cannot be read, when the others have been described, and
        `OutputError` if the folder cannot be written.
        """
        self._load(method)
        known = self.known[method.cache_name]
        keys = [_key(image) for image in images]
        missing = {key: image for key, image in zip(keys, images, strict=True) if key not in known}
        if missing:
            self._complete(method, missing)
        return np.stack([known[key] for key in keys])

    def _complete(self, method: Describes, missing: dict[str, str | Path]) -> None:
        """Describes what is missing; raises about pictures that cannot be read at the end."""
        known, seconds = self.known[method.cache_name], self.seconds[method.cache_name]
        errors: list[ImageError] = []
        saved = time.monotonic()
        found = self._describe(method, list(missing.values()))
        for done, (key, result) in enumerate(zip(missing, found, strict=True), 1):
            if isinstance(result, ImageError):
                errors.append(result)
            else:
                known[key], seconds[key] = result
            if self.progress:
                self.progress(method.cache_name, done, len(missing))
            if time.monotonic() - saved > SAVE_EVERY_S:
                self._save(method)
                saved = time.monotonic()
        self._save(method)
        if errors:
            more = f" (and {len(errors) - 1} more of {len(missing)})" if len(errors) > 1 else ""
            raise ImageError(f"{errors[0]}{more}")

    def seconds_per_picture(self, method: Describes) -> float:
        """Median CPU time that the features of one picture took; nan if there are none."""
        costs = list(self.seconds.get(method.cache_name, {}).values())
        return float(np.median(costs)) if costs else float("nan")

    def _describe(self, method: Describes, images: Sequence[str | Path]) -> Iterator[Result]:
        """In order; in this process for the first seconds: little work needs no others."""
        start = time.monotonic()
        for done, image in enumerate(images):
            late = time.monotonic() - start > ALONE_S
            if late and self.jobs > 1 and not method.in_process:
                yield from self._in_pool(method.describe, images[done:])
                return
            yield _describe_file(method.describe, image)

    def _in_pool(self, describe: Describe, images: Sequence[str | Path]) -> Iterator[Result]:
        """In order, with a few pictures a process under way."""
        pending: list[Future[Result]] = []
        with ProcessPoolExecutor(self.jobs, get_context("spawn"), _use_one_core) as pool:
            try:
                for image in images:
                    pending.append(pool.submit(_describe_file, describe, image))
                    if len(pending) >= AHEAD * self.jobs:
                        yield pending.pop(0).result()
                while pending:
                    yield pending.pop(0).result()
            finally:
                for future in pending:
                    future.cancel()

    def _path(self, method: Describes) -> Path | None:
        return self.folder / f"{method.cache_name}.npz" if self.folder else None

    def _load(self, method: Describes) -> None:
        if method.cache_name in self.known:
            return
        self.known[method.cache_name], self.seconds[method.cache_name] = {}, {}
        path = self._path(method)
        if path is None or not path.is_file():
            return
        with np.load(path) as stored:
            if str(stored["version"]) != __version__:
                return
            keys = [str(key) for key in stored["keys"]]
            self.known[method.cache_name] = dict(zip(keys, stored["values"], strict=True))
            self.seconds[method.cache_name] = dict(
                zip(keys, stored["seconds"].tolist(), strict=True)
            )

    def _save(self, method: Describes) -> None:
        path = self._path(method)
        known, seconds = self.known[method.cache_name], self.seconds[method.cache_name]
        if path is None or not known:
            return
        with new_file(path) as file:
            np.savez(
                file,
                version=__version__,
                keys=np.array(list(known)),
                values=np.stack(list(known.values())),
                seconds=np.array([seconds[key] for key in known]),
            )


def _describe_file(describe: Describe, image: str | Path) -> Result:
    try:
        pixels = read_photo(image).srgb
    except ImageError as error:
        return error
    start = time.process_time()
    values = np.asarray(describe(pixels), np.float32)
    return values, time.process_time() - start


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _use_one_core() -> None:
    import cv2

    cv2.setNumThreads(1)


def _key(image: str | Path) -> str:
    try:
        status = os.stat(image)
    except OSError as error:
        raise ImageError(f"{image} cannot be read ({reason(error)}).") from error
    return f"{os.path.abspath(image)}|{status.st_size}|{status.st_mtime_ns}"
