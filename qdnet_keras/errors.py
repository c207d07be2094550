"""Errors that a user can cause, each with the process exit code that the command line returns.

Every message is one sentence that says what was wrong, in which file, and what to do.

| code | meaning |
|------|---------|
| 0 | everything asked for was done |
| 1 | some files of a batch failed; the others were done |
| 2 | the command line itself was wrong (unknown option, missing argument) |
| 3 | an input image cannot be used (`ImageError`) |
| 4 | a data set or its scores cannot be used (`DataError`) |
| 5 | a configuration or recipe is wrong (`ConfigError`) |
| 6 | a preset or checkpoint cannot be loaded (`PresetError`) |
| 7 | an output already exists or cannot be written (`OutputError`) |
| 8 | a model server cannot be reached, or refused or failed a request (`ServerError`) |
| 9 | a package that the command needs is not installed (`MissingPackageError`) |
"""


class QDNetError(Exception):
    """Base of all errors raised on purpose by this package."""

    exit_code = 1


class ImageError(QDNetError):
    """An image is unreadable, too small, or of a kind that is not supported."""

    exit_code = 3


class DataError(QDNetError):
    """A manifest, a scores file or a folder of images is inconsistent."""

    exit_code = 4


class ConfigError(QDNetError):
    """A configuration or recipe has an unknown key or a value out of range."""

    exit_code = 5


class PresetError(QDNetError):
    """A preset, weights file or checkpoint is missing, damaged or of another shape."""

    exit_code = 6


class OutputError(QDNetError):
    """An output exists already, or its folder cannot be written."""

    exit_code = 7


class ServerError(QDNetError):
    """A model server refused a request, failed on it or took too long."""

    exit_code = 8


class ServerUnreachableError(ServerError):
    """No model server answers, so that further requests are of no use either."""


class MissingPackageError(QDNetError):
    """A command needs a package of an optional extra that is not installed."""

    exit_code = 9
