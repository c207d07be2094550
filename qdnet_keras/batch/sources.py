"""Where the photographs of a batch lie: folders, lists and whatever fsspec reaches."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from types import ModuleType

from qdnet_keras.errors import DataError, ImageError, MissingPackageError
from qdnet_keras.files import read_text, reason
from qdnet_keras.photos.files import SUFFIXES, find_photos

LIST = ".txt"


def list_files(source: str) -> list[str]:
    """Paths or URLs of the photographs of a source, in order of name.

    Args:
        source: A folder or photograph, local or a URL such as `s3://bucket/folder`; or a local
            `.txt` with a path or URL a line, kept in its order.

    Raises:
        DataError: If there is none, or the source cannot be read.
        MissingPackageError: If fsspec, or its package for the URL's kind, is not installed.
    """
    if source.lower().endswith(LIST) and "://" not in source:
        files = [line.strip() for line in read_text(Path(source)).splitlines() if line.strip()]
    elif "://" not in source and not os.path.lexists(source):
        raise DataError(f"{source} does not exist.")
    elif "://" not in source:
        files = [str(file) for file in find_photos([source])]
    else:
        files = _list_remote(source)
    if not files:
        raise DataError(f"{source} holds no photographs of a known format.")
    return list(dict.fromkeys(files))


def _list_remote(source: str) -> list[str]:
    fsspec = _fsspec()
    try:
        filesystem, root = fsspec.url_to_fs(source)
        found = sorted(filesystem.find(root))
    except ImportError as error:
        raise MissingPackageError(f"{source} needs a package: {reason(error)}.") from error
    except Exception as error:  # each kind of storage has its own
        raise DataError(f"{source} cannot be listed ({reason(error)}).") from error
    pictures = [path for path in found if _is_picture(path[len(root) :] or path)]
    return [filesystem.unstrip_protocol(path) for path in pictures]


def _is_picture(path: str) -> bool:
    hidden = any(part.startswith(".") for part in PurePosixPath(path).parts)
    return not hidden and PurePosixPath(path).suffix.lower() in SUFFIXES


def read_bytes(file: str) -> bytes:
    """The content of a URL. Raises `ImageError`."""
    try:
        with _fsspec().open(file, "rb") as opened:
            return opened.read()
    except FileNotFoundError:
        raise ImageError(f"{file} does not exist.") from None
    except Exception as error:
        raise ImageError(f"{file} cannot be read ({reason(error)}).") from error


def output_names(files: Sequence[str]) -> list[str]:
    """A name for a rendering of each file: its path below the folder that all share."""
    whole = [file.split("://")[1] if "://" in file else os.path.abspath(file) for file in files]
    parts = [[part for part in Path(path).parts if part != ".."] for path in whole]
    paths = [PurePosixPath("/", *names) for names in parts]
    shared = os.path.commonpath([path.parent for path in paths])
    return [str(path.relative_to(shared)) for path in paths]


def _fsspec() -> ModuleType:
    try:
        import fsspec
        import fsspec.core
    except ImportError:
        raise MissingPackageError(
            "URLs need fsspec; install it with: pip install 'qdnet-keras[batch]'"
        ) from None
    return fsspec
