"""Presets as files: their names, their hashes, and one zip of them all.

config.json              constructor arguments of `QDNet` and the package version
weights.safetensors      the weights
calibration.safetensors  the learnt scale of the scores
CARD.md                  the card; README.md where a hub shows it, and in a zip
SHA256SUMS               hashes of all but the card, as `sha256sum` writes them

What is not among these files is neither packed nor unpacked. Nothing in them is code: JSON, arrays
and text.
"""

import hashlib
import os
import re
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from qdnet_keras.errors import PresetError
from qdnet_keras.files import new_file, reason

CONFIG = "config.json"
WEIGHTS = "weights.safetensors"
CALIBRATION = "calibration.safetensors"
CARD = "CARD.md"
README = "README.md"
SUMS = "SHA256SUMS"

HASHED = (CONFIG, WEIGHTS, CALIBRATION)
TEXT_LIMIT = 2**20  # bytes
LIMITS = {  # bytes of each file of a bundle
    CONFIG: TEXT_LIMIT,
    WEIGHTS: 2**30,
    CALIBRATION: TEXT_LIMIT,
    README: TEXT_LIMIT,
    SUMS: TEXT_LIMIT,
}
LARGEST = sum(LIMITS.values())
_CHUNK = 2**20
_FOLDER = re.compile(r"(?!\.\.?/)([^/\\]+/)?")
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DIRECTORY_END = struct.Struct("<4s4H2LH")  # of a zip file


def pack(folder: Path, out: Path, card: str) -> str:
    """Writes the files of a preset, its card and their hashes as a zip file, the same each time.

    Returns:
        The zip's SHA-256.

    Raises:
        PresetError: If a file of the preset cannot be read.
        OutputError: If the zip cannot be written.
    """
    contents = {name: _read(folder / name) for name in HASHED}
    sums = "".join(f"{_sha256(content)}  {name}\n" for name, content in contents.items())
    contents |= {SUMS: sums.encode(), README: card.encode()}
    with new_file(out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return _file_sha256(out)


def unpack(zipped: Path, folder: Path, source: str) -> None:
    """Writes the files of a zip that `pack` made into a folder that exists, and checks them.

    Raises:
        PresetError: If it is no such zip, is damaged, or holds anything else; the message names
            `source`.
    """
    try:
        with zipped.open("rb") as file:
            _check_directory(file, source)
            with zipfile.ZipFile(file) as archive:
                for member, name in _members(archive, source).items():
                    with archive.open(member) as packed, (folder / name).open("xb") as unpacked:
                        _copy(packed, unpacked, LIMITS[name], source)
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise PresetError(f"{source} is no whole zip file ({reason(error)}).") from error
    verify(folder, source)


def verify(folder: Path, source: str) -> None:
    """Checks the files of a folder against its `SHA256SUMS`.

    Raises:
        PresetError: If that is missing, or a file is missing, too large or another; the message
            names `source`.
    """
    if not (folder / SUMS).is_file():
        raise PresetError(
            f"{source} holds no {SUMS}; its owner can make one with: qdnet-keras pack."
        )
    sums = dict.fromkeys(HASHED, "")
    for line in _read(folder / SUMS).decode(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if name not in HASHED:
            raise PresetError(f"{source} lists {name!r} in {SUMS}, which is no part of a preset.")
        sums[name] = digest
    for name, digest in sums.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size > LIMITS[name] or digest != _file_sha256(path):
            raise PresetError(f"{source} is damaged: {name} is not the file that {SUMS} describes.")


def _members(archive: zipfile.ZipFile, source: str) -> dict[zipfile.ZipInfo, str]:
    """The zip's files with the names that they get; at the top, or all in one folder."""
    files = [member for member in archive.infolist() if not member.is_dir()]
    tops = {member.filename.rpartition("/")[0] for member in files}
    wanted: dict[zipfile.ZipInfo, str] = {}
    for member in files:
        name = PurePosixPath(member.filename).name
        top = member.filename.removesuffix(name)
        plain = stat.S_IFMT(member.external_attr >> 16) in (0, stat.S_IFREG)
        if not (plain and name in LIMITS and len(tops) == 1 and _FOLDER.fullmatch(top)):
            raise PresetError(
                f"{source} holds {member.filename!r}, which is no part of a preset; nothing of it "
                "is used."
            )
        encrypted = member.flag_bits & 1 or member.compress_type not in _PACKINGS
        if encrypted or name in wanted.values() or member.file_size > LIMITS[name]:
            raise PresetError(
                f"{source} holds {member.filename!r} encrypted, twice or too large; nothing of it "
                "is used."
            )
        wanted[member] = name
    return wanted


def _check_directory(file: BinaryIO, source: str) -> None:
    """Refuses lists of members that would fill the memory before one of them is looked at."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _DIRECTORY_END.size - 20, 0))
    end = file.read()
    if size <= LARGEST and end[-_DIRECTORY_END.size :].startswith(b"PK\5\6"):
        *_, listed, _, comment = _DIRECTORY_END.unpack(end[-_DIRECTORY_END.size :])
        if listed <= TEXT_LIMIT and not comment and not end.startswith(b"PK\6\7"):
            return
    raise PresetError(f"{source} is no zip file of a preset; make one with: qdnet-keras pack.")


def _copy(packed: IO[bytes], unpacked: BinaryIO, limit: int, source: str) -> None:
    while chunk := packed.read(_CHUNK):
        limit -= len(chunk)
        if limit < 0:
            raise PresetError(f"{source} holds more than it says; nothing of it is used.")
        unpacked.write(chunk)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PresetError(f"{path} cannot be read ({reason(error)}); restore it.") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
