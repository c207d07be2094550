"""Pictures of a data set, read from disk when they are asked for."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image, UnidentifiedImageError

from qdnet_keras.errors import QDNetError
from qdnet_keras.photos.files import MIN_SIDE, read_photo, working_copy

CACHE_BYTES = 2 << 30
ORIENTATION = 0x0112  # the EXIF tag; from 5 on, width and height change places


class Pictures:
    """Working copies of files, of which the last ones used stay in memory. May be used by threads.

    Args:
        files: Photographs.
        max_side: Long sides are reduced to it, pixels.
        cache_bytes: Most memory of what stays.

    Attributes:
        failure: The first error that `get` raised, for callers that TensorFlow hides it from.
    """

    def __init__(self, files: Sequence[Path], max_side: int, cache_bytes: int = CACHE_BYTES):
        self.files = files
        self.max_side = max_side
        self.cache_bytes = cache_bytes
        self.failure: QDNetError | None = None
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()
        self._held = 0
        self._lock = Lock()

    def get(self, index: int) -> np.ndarray:
        """Picture `index`, uint8 `[height, width, 3]`. Raises `ImageError`."""
        with self._lock:
            if index in self._cache:
                self._cache.move_to_end(index)
                return self._cache[index]
        picture = self._read(index)
        with self._lock:
            if index not in self._cache:
                self._cache[index] = picture
                self._held += picture.nbytes
            while self._held > self.cache_bytes:
                self._held -= self._cache.popitem(last=False)[1].nbytes
        return picture

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of `get(index)`, from the file's header where Pillow can read it.

        Raises:
            ImageError: If the file cannot be read.
        """
        try:
            with Image.open(self.files[index]) as image:
                width, height = image.size
                if image.getexif().get(ORIENTATION, 1) >= 5:
                    width, height = height, width
        except (OSError, ValueError, UnidentifiedImageError):
            height, width = read_photo(self.files[index]).srgb.shape[:2]
        scale = max(self.max_side / max(height, width), MIN_SIDE / min(height, width))
        return (height, width) if scale >= 1 else (round(height * scale), round(width * scale))

    def _read(self, index: int) -> np.ndarray:
        try:
            copy = working_copy(read_photo(self.files[index]).srgb, self.max_side)
        except QDNetError as error:
            self.failure = self.failure or error
            raise
        return np.round(copy * 255.0).astype(np.uint8)
