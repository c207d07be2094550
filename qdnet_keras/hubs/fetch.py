"""Presets from elsewhere, by address; they are kept, and checked whenever they are used.

    hf://USER/REPO[@REVISION]                         Hugging Face
    kaggle://OWNER/MODEL/FRAMEWORK/VARIATION[/N]      Kaggle
    https://HOST/preset.zip[#sha256=HEX]              a zip of `qdnet-keras pack`
    preset.zip                                        the same on this machine

Hugging Face's and Kaggle's own libraries keep what they fetch in their own caches; what a zip
holds lies in `CACHE/presets`, under the zip's SHA-256. `CACHE/fetched` remembers the addresses.
"""

import hashlib
import importlib
import json
import os
import re
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from platformdirs import user_cache_path

from qdnet_keras import __version__
from qdnet_keras.errors import MissingPackageError, PresetError, QDNetError
from qdnet_keras.files import make_folder, new_folder, reason, write_text
from qdnet_keras.hubs.bundle import HASHED, LARGEST, LIMITS, README, SUMS, unpack, verify

TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 2**20


class Fetched(NamedTuple):
    """A preset that came from elsewhere."""

    address: str
    folder: Path
    etag: str | None = None  # of a server that has it


def is_address(preset: str | os.PathLike[str]) -> bool:
    """Whether a preset is named by an address or a zip file."""
    text = os.fspath(preset)
    return "://" in text or (text.lower().endswith(".zip") and os.path.isfile(text))


def fetch(address: str) -> Path:
    """The folder with the checked files of a preset, fetched unless it is there.

    A hub or a server that cannot be reached is no error where the preset was fetched before.

    Raises:
        PresetError: If the address is of no known form, cannot be fetched, or is no whole preset.
        MissingPackageError: If the hub's library is not installed.
    """
    scheme, separator, rest = address.partition("://")
    way = _WAYS.get(scheme) if separator else _from_zip
    if way is None:
        raise PresetError(
            f"{address} is of no known form; use hf://, kaggle://, https:// or a zip."
        )
    try:
        found = way(address, rest)
    except _NotReached as error:
        known = _remembered(address)
        if known is None:
            raise PresetError(
                f"{address} cannot be fetched ({reason(error)}); check the address and the network."
            ) from error
        found = known
    verify(found.folder, f"{address}, kept in {found.folder},")
    _remember(found)
    return found.folder


def fetched() -> Iterator[Fetched]:
    """What was fetched before and is still there, in the order of addresses."""
    known = []
    for file in _cache("fetched").glob("*.json"):
        with suppress(OSError, ValueError, TypeError):
            record = json.loads(file.read_text(encoding="utf-8"))
            known.append(Fetched(record["address"], Path(record["folder"]), record["etag"]))
    yield from sorted(one for one in known if (one.folder / SUMS).is_file())


class _NotReached(Exception):
    """What is asked for is not to be had now."""


class _StaysEncrypted(urllib.request.HTTPRedirectHandler):
    """Follows a server only to where nobody can change the file on its way."""

    def redirect_request(self, *arguments: Any) -> urllib.request.Request | None:
        url = arguments[-1]
        if not url.startswith("https://"):
            raise PresetError(f"The server leads to {url}, which is not encrypted; add #sha256=.")
        return super().redirect_request(*arguments)


@cache
def _from_hugging_face(address: str, rest: str) -> Fetched:
    hub, errors = _library("huggingface_hub"), _library("huggingface_hub.errors")
    repository, _, revision = rest.partition("@")
    if not re.fullmatch(r"[^/]+/[^/]+", repository):
        raise PresetError(
            f"{address} is not of the form hf://USER/REPO or hf://USER/REPO@REVISION."
        )
    options = {
        "revision": revision or None,
        "allow_patterns": list(LIMITS),
        "library_name": "qdnet-keras",
        "library_version": __version__,
    }
    try:
        with suppress(errors.DryRunError):  # nothing can be asked without a network
            for file in hub.snapshot_download(repository, dry_run=True, **options):
                if file.file_size > LIMITS[file.filename]:
                    raise PresetError(f"{address} holds a {file.filename} that is too large.")
        folder = hub.snapshot_download(repository, **options)
    except PresetError:
        raise
    except Exception as error:  # the library's errors have no common base
        raise _NotReached(_first_line(error)) from error
    return Fetched(address, Path(folder))


@cache
def _from_kaggle(address: str, rest: str) -> Fetched:
    kagglehub = _library("kagglehub")
    if not re.fullmatch(r"[^/]+(/[^/]+){3}(/\d+)?", rest):
        raise PresetError(
            f"{address} is not of the form kaggle://OWNER/MODEL/FRAMEWORK/VARIATION or "
            "kaggle://OWNER/MODEL/FRAMEWORK/VARIATION/VERSION."
        )
    try:
        for name in (*HASHED, SUMS):
            file = kagglehub.model_download(rest, path=name)
        with suppress(Exception):
            kagglehub.model_download(rest, path=README)
    except Exception as error:  # the library's errors have no common base
        raise _NotReached(_first_line(error)) from error
    return Fetched(address, Path(file).parent)


@cache
def _from_server(address: str, rest: str) -> Fetched:
    url, _, fragment = address.partition("#")
    digest = _digest_of(address, fragment)
    if url.startswith("http://") and digest is None:
        raise PresetError(
            f"{address} is not encrypted; use https:// or add #sha256= with the hash of the zip."
        )
    if digest is not None and _is_whole(_cache("presets") / digest):
        return Fetched(address, _cache("presets") / digest)
    known = _remembered(address)
    request = urllib.request.Request(url, headers={"User-Agent": f"qdnet-keras/{__version__}"})
    if known is not None and known.etag is not None:
        request.add_header("If-None-Match", known.etag)
    opener = urllib.request.build_opener(*([_StaysEncrypted] if digest is None else []))
    make_folder(_cache("presets"))
    with tempfile.NamedTemporaryFile(dir=_cache("presets"), suffix=".zip") as file:
        try:
            with opener.open(request, timeout=TIMEOUT) as response:
                etag = response.headers.get("ETag")
                _save(response, file, address)
        except urllib.error.HTTPError as error:
            if error.code == 304 and known is not None:
                return known
            raise _NotReached(f"the server answers {error.code}, {error.reason}") from error
        except (OSError, HTTPException, ValueError) as error:
            raise _NotReached(reason(getattr(error, "reason", None) or error)) from error
        folder = _unpacked(Path(file.name), address, digest)
    return Fetched(address, folder, etag)


def _from_zip(address: str, _: str) -> Fetched:
    path = Path(address).resolve()
    return Fetched(str(path), _unpacked(path, address, None))


_WAYS: dict[str, Callable[[str, str], Fetched]] = {
    "hf": _from_hugging_face,
    "kaggle": _from_kaggle,
    "https": _from_server,
    "http": _from_server,
}


def _unpacked(source: Path, address: str, expected: str | None) -> Path:
    """The folder that holds what is in a zip, under its SHA-256."""
    try:
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PresetError(f"{address} cannot be read ({reason(error)}).") from error
    if expected not in (None, digest):
        raise PresetError(
            f"{address} has the SHA-256 {digest}, not the one asked for; nothing of it is used."
        )
    folder = _cache("presets") / digest
    if not _is_whole(folder):
        shutil.rmtree(folder, ignore_errors=True)
        with new_folder(folder.parent) as part:
            unpack(source, part, address)
            with suppress(FileExistsError):  # another process was faster
                os.rename(part, folder)
    return folder


def _is_whole(folder: Path) -> bool:
    with suppress(PresetError):
        verify(folder, str(folder))
        return True
    return False


def _save(response: Any, file: Any, address: str) -> None:
    size = 0
    while chunk := response.read(_CHUNK):
        size += len(chunk)
        if size > LARGEST:
            raise PresetError(f"{address} is larger than a preset can be; nothing of it is used.")
        file.write(chunk)
    file.flush()


def _digest_of(address: str, fragment: str) -> str | None:
    if not fragment:
        return None
    found = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if found is None:
        raise PresetError(f"{address} does not end with #sha256= and 64 hexadecimal digits.")
    return found[1].lower()


def _library(name: str) -> Any:
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingPackageError(
            f"Presets of this kind need {name}; install it with: pip install 'qdnet-keras[hub]'"
        ) from error


def _cache(name: str) -> Path:
    return user_cache_path("qdnet-keras") / name


def _record(address: str) -> Path:
    return _cache("fetched") / f"{hashlib.sha256(address.encode()).hexdigest()[:32]}.json"


def _remembered(address: str) -> Fetched | None:
    known = (one for one in fetched() if one.address == address)
    return next((one for one in known if _is_whole(one.folder)), None)


def _remember(found: Fetched) -> None:
    record = {**found._asdict(), "folder": str(found.folder)}
    with suppress(QDNetError):  # a cache that cannot be written costs the memory, not the preset
        write_text(_record(found.address), json.dumps(record) + "\n")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
