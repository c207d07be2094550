"""Which version of a model is served: the newest, exchanged without a gap."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from tensorflow_serving.apis import get_model_status_pb2

from qdnet_keras.server.servable import Servable
from qdnet_keras.server.status import StatusError, not_found

State = get_model_status_pb2.ModelVersionStatus
logger = logging.getLogger("qdnet_keras.server")


@dataclass
class VersionStatus:
    """State of a version and, where it failed to load, why."""

    state: int  # of the enum ModelVersionStatus.State
    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""


class Versions:
    """The newest version in a folder, and those that still answer their last requests.

    `refresh` loads a newer version beside the present one and then retires that. A version is
    unloaded when the last request that uses it ends. When the newest folder disappears, the next
    one is loaded; a version that fails to load leaves the present one in place.

    Args:
        name: The model's name in requests.
        folder: Holds the versions, each in a folder of its number.
        warm_up: Whether a version's recorded requests run before it is used.
    """

    def __init__(self, name: str, folder: Path, warm_up: bool = True):
        self.name = name
        self.folder = folder
        self.warm_up = warm_up
        self.status: dict[int, VersionStatus] = {}
        self._lock = threading.Lock()
        self._current: Servable | None = None
        self._users: dict[Servable, int] = {}
        self._failed: tuple[int, int] | None = None  # version and inode of its folder

    def refresh(self) -> None:
        """Loads the newest version if it is not the present one."""
        found = self._newest()
        if found is None or found == self._failed:
            return
        version, _ = found
        if self._current is not None and self._current.version == version:
            return
        folder = self.folder / str(version)
        self.status[version] = VersionStatus(State.LOADING)
        try:
            servable = Servable(folder, version)
            warmed = servable.warm_up(folder) if self.warm_up else 0
        except Exception as error:
            self._failed = found
            reason = " ".join(str(error).split())
            self.status[version] = VersionStatus(State.END, grpc.StatusCode.UNKNOWN, reason)
            logger.error("version %d of %s cannot be loaded: %s", version, self.name, reason)
            return
        logger.info("version %d of %s is available (%d warm-ups)", version, self.name, warmed)
        self._exchange(servable)

    def _newest(self) -> tuple[int, int] | None:
        try:
            found = [
                (int(entry.name), entry.stat().st_ino)
                for entry in self.folder.iterdir()
                if entry.name.isdecimal() and entry.is_dir()
            ]
        except OSError:
            return None
        return max(found, default=None)

    def _exchange(self, servable: Servable) -> None:
        with self._lock:
            old, self._current = self._current, servable
            self._users[servable] = 0
            self.status[servable.version] = VersionStatus(State.AVAILABLE)
            if old is not None:
                self.status[old.version] = VersionStatus(State.UNLOADING)
                idle = self._users[old] == 0
        if old is not None and idle:
            self._unload(old)

    @contextmanager
    def use(self, version: int | None = None) -> Iterator[Servable]:
        """The version asked for, kept loaded meanwhile; None is the present one.

        Raises:
            StatusError: NOT_FOUND, if it is not loaded; UNAVAILABLE, while the first one loads.
        """
        with self._lock:
            servable = self._current
            if servable is None and self._is_loading():
                raise StatusError(
                    grpc.StatusCode.UNAVAILABLE, f"The model {self.name} is loading; try again."
                )
            if servable is None or version not in (None, servable.version):
                raise not_found(self.name, version)
            self._users[servable] += 1
        try:
            yield servable
        finally:
            with self._lock:
                self._users[servable] -= 1
                retired = servable is not self._current and self._users[servable] == 0
            if retired:
                self._unload(servable)

    def _is_loading(self) -> bool:
        return not self.status or State.LOADING in {known.state for known in self.status.values()}

    def _unload(self, servable: Servable) -> None:
        del self._users[servable]
        self.status[servable.version] = VersionStatus(State.END)
        logger.info("version %d of %s is unloaded", servable.version, self.name)
