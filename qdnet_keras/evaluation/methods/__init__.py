"""The methods of a comparison by name. Nothing heavy is imported before a method is made."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from qdnet_keras.defaults import DEFAULT_CONFIG, DEFAULT_RESNET
from qdnet_keras.evaluation.ablations import ABLATIONS

if TYPE_CHECKING:
    from qdnet_keras.evaluation.methods.base import Method
    from qdnet_keras.evaluation.methods.features import FeatureStore

_TABLE = {
    "gm-log": ("gm_log", "GmLog"),
    "desique": ("desique", "Desique"),
    "brisque": ("brisque", "Brisque"),
    "higrade-1": ("higrade", "Higrade1"),
    "higrade-2": ("higrade", "Higrade2"),
    "bibqa": ("bibqa", "Bibqa"),
    "he2018": ("he2018", "He2018"),
}
_CLASSES = {
    **_TABLE,
    "natural-statistics": ("natural", "Natural"),
    "published-statistics": ("published", "Published"),
}
HANDCRAFTED = tuple(_TABLE)
ABLATED = {f"qdnet-{name}": overrides for name, overrides in ABLATIONS.items()}
METHODS = (*_CLASSES, "qdnet", *ABLATED)
SETS = {
    "handcrafted": HANDCRAFTED,
    "higrade": ("higrade-1", "higrade-2"),
    "table": (*HANDCRAFTED, "qdnet"),
    "ablations": (*ABLATED, "natural-statistics"),
}


def method_names(words: str) -> list[str]:
    """Names of methods from a list with commas of names and of the names of sets.

    Raises `ValueError` for a word that is neither.
    """
    names: list[str] = []
    for word in filter(None, (word.strip() for word in words.split(","))):
        if word not in METHODS and word not in SETS:
            known = ", ".join((*METHODS, *SETS))
            raise ValueError(f"{word!r} is no method; known are {known}")
        names += SETS.get(word, (word,))
    if not names:
        raise ValueError("give at least one method")
    return list(dict.fromkeys(names))


@dataclass(frozen=True)
class Options:
    """How methods are made.

    Attributes:
        config: Name or file of QD-net's configuration.
        overrides: Of it, such as `"train.epochs=5"`.
        preset: Stands in for every training of QD-net, if given.
        resnet: Weights of He et al., see `qdnet_keras.evaluation.methods.he2018.He2018`.
    """

    config: str = DEFAULT_CONFIG
    overrides: Sequence[str] = ()
    preset: str | None = None
    resnet: str = DEFAULT_RESNET


def make_method(name: str, options: Options, store: "FeatureStore", run: Path) -> "Method":
    """The method called `name`, not yet fitted.

    Args:
        name: One of `METHODS`.
        options: See `Options`.
        store: Where features are kept.
        run: Folder for QD-net's training.

    Raises:
        ConfigError, PresetError: If an option cannot be used.
    """
    if name in _CLASSES:
        module, cls = _CLASSES[name]
        method = getattr(import_module(f"qdnet_keras.evaluation.methods.{module}"), cls)
        return method(store, options.resnet) if name == "he2018" else method(store)

    from qdnet_keras.evaluation.methods.qdnet import FixedQDNet, TrainedQDNet
    from qdnet_keras.training.config import load_config

    if name not in METHODS:
        raise ValueError(f"{name!r} is no method; known are {', '.join(METHODS)}")
    if options.preset is not None:
        return FixedQDNet(options.preset, store)
    config = load_config(options.config, [*options.overrides, *ABLATED.get(name, ())])
    return TrainedQDNet(name, config, run)
