"""QD-net: blind quality scores for tone-mapped photographs, and re-rendering at a target score.

TensorFlow is imported when one of the public names is first used, not by `import qdnet_keras`.
"""

from importlib import import_module
from typing import Any

from qdnet_keras._version import __version__

_PUBLIC = {
    "QDNet": "qdnet_keras.model.qdnet",
    "load": "qdnet_keras.api",
    "score": "qdnet_keras.api",
    "enhance": "qdnet_keras.api",
}

__all__ = ["QDNet", "__version__", "enhance", "load", "score"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
