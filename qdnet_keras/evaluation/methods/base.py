"""What the methods of a comparison have in common: `fit(images, mos)`, then `predict(images)`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike

from qdnet_keras.errors import DataError
from qdnet_keras.evaluation.methods.features import FeatureStore

if TYPE_CHECKING:
    from sklearn.model_selection import GridSearchCV

Images = Sequence[str | Path]
FOLDS = 3


class Method(Protocol):
    """A way to predict MOS from pictures.

    Attributes:
        name: What tables call it, and its folder in a run.
        note: What a reader of its figures must know; may be empty.
        settings: What its predictions depend on besides the data.
        learns: Whether `fit` does anything.
        seen: File name and scene of pictures whose scores it knew before `fit`.
    """

    @property
    def name(self) -> str: ...

    @property
    def note(self) -> str: ...

    @property
    def learns(self) -> bool: ...

    @property
    def seen(self) -> frozenset[tuple[str, str]]: ...

    @property
    def settings(self) -> dict[str, Any]: ...

    def fit(
        self,
        images: Images,
        mos: ArrayLike,
        scenes: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
    ) -> "Method":
        """Learns from scored pictures.

        Args:
            images: Files.
            mos: Their scores in 0..100, `[N]`.
            scenes: One label a picture; renderings of one scene share it. By default each picture
                is a scene.
            groups: One label a picture; what shares it is never on both sides of an inner
                validation. By default the scenes.
        """
        ...

    def predict(self, images: Images) -> np.ndarray:
        """Scores of the files in MOS units, float64 `[N]`. Raises `ValueError` before `fit`."""
        ...


class Baseline:
    """Features of a picture, then a regressor; a subclass is one published method.

    Args:
        store: Where features are kept; by default in memory, as long as the method lives.

    Class attributes:
        name, note, learns, seen: See `Method`.
        dimension: Number of features.
        in_process, describe: See `qdnet_keras.evaluation.methods.features.Describes`.
    """

    name: ClassVar[str]
    dimension: ClassVar[int]
    describe: Callable[[np.ndarray], np.ndarray]
    in_process = False
    note = ""
    learns = True
    seen: frozenset[tuple[str, str]] = frozenset()

    def __init__(self, store: FeatureStore | None = None):
        self.store = store or FeatureStore()
        self.model: Any = None

    @property
    def cache_name(self) -> str:
        return self.name

    @property
    def settings(self) -> dict[str, Any]:
        return {"features": self.cache_name, "dimension": self.dimension}

    def extract(self, images: Images) -> np.ndarray:
        """Features of the files, float32 `[N, dimension]`."""
        return self.store.get(self, images)

    def fit(
        self,
        images: Images,
        mos: ArrayLike,
        scenes: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
    ) -> "Baseline":
        """See `Method.fit`."""
        folds = groups or scenes or [str(image) for image in images]
        self.model = self.regress(self.extract(images), np.asarray(mos, np.float64), folds)
        return self

    def predict(self, images: Images) -> np.ndarray:
        """See `Method.predict`."""
        if self.model is None:
            raise ValueError(f"{self.name} has not been fitted")
        return np.asarray(self.model.predict(self.extract(images)), np.float64).ravel()

    def regress(self, features: np.ndarray, mos: np.ndarray, groups: Sequence[str]) -> Any:
        """A fitted regressor; by default `support_vectors`."""
        return support_vectors(features, mos, groups)


def support_vectors(features: np.ndarray, mos: np.ndarray, groups: Sequence[str]) -> "GridSearchCV":
    """A fitted SVR with an RBF kernel on standardised features and scores.

    C and the kernel's width are those of the least squared error over `FOLDS` folds of the data
    given, no group in two folds. Fewer groups than folds: as many folds as groups.

    Raises `DataError` if all pictures are of one group.
    """
    # Processes that only compute features need not wait for scikit-learn.
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR

    count = len(set(groups))
    if count < 2:
        raise DataError("All training pictures are of one group; two are needed to train a method.")
    dimension = features.shape[1]
    grid = {
        "regressor__svr__C": [1.0, 8.0, 64.0],
        "regressor__svr__gamma": [factor / dimension for factor in (0.05, 0.2, 0.8)],
    }
    machine = make_pipeline(StandardScaler(), SVR(epsilon=0.1, cache_size=500))
    scaled = TransformedTargetRegressor(machine, transformer=StandardScaler())
    folds = GroupKFold(min(FOLDS, count))
    search = GridSearchCV(scaled, grid, scoring="neg_mean_squared_error", cv=folds)
    return search.fit(features.astype(np.float64), mos, groups=groups)
