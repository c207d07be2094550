"""What scores are learnt from: votes of several sets, and what two regressions make of them.

Sets ask different people different questions, and no set has votes for spoilt photographs. One
regression learns the first set's votes from what the encoder says, another learns votes of
tone-mapped pictures from published statistics, whose pictures need not be there. A label is what
both say together, or a picture's vote, whose set has the mean and the spread of what both say.
Votes are noisy: part of each is what other votes of the set let expect of the picture.
"""

import math

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVR

from qdnet_keras.model.layers.published_statistics import COLUMNS, STATISTICS
from qdnet_keras.training.scores import KernelTeacher

AT_ONCE = 500  # pictures
LIMIT = 3.0  # standard deviations of the published votes' regression


class VoteTeacher:
    """The first set's votes, standardised, from the encoder's statistics.

    Args:
        statistics: Of the first set's training pictures, `[count, channels]`, the encoder's stages.
        mos: Their votes.
    """

    def __init__(self, statistics: list[np.ndarray], mos: np.ndarray):
        self.regression = KernelTeacher(statistics, standardised(mos), pictures=0)

    def __call__(self, statistics: list[np.ndarray]) -> np.ndarray:
        """Standardised votes that the first set's people would give, float32 `[count]`."""
        parts = [
            self.regression([stage[start : start + AT_ONCE] for stage in statistics])
            for start in range(0, len(statistics[0]), AT_ONCE)
        ]
        return np.concatenate([np.asarray(part) for part in parts])


class PublishedTeacher:
    """Votes of tone-mapped pictures from 23 of their 73 published statistics.

    Args:
        published: `[count, 73]`, see `read_statistics`.
        mos: Their votes.
        renderings: What `PublishedStatistics` says of tone-mapped renderings, `[count, 23]`: what
            is said of them has mean 0 and standard deviation 1.
    """

    def __init__(self, published: np.ndarray, mos: np.ndarray, renderings: np.ndarray):
        machine = SVR(C=30, gamma=1 / (1.5 * STATISTICS), epsilon=2)
        self.regression = make_pipeline(MinMaxScaler(clip=True), StandardScaler(), machine)
        self.regression.fit(published[:, [int(name[1:]) for name in COLUMNS]], mos)
        said = self.regression.predict(renderings.astype("float64"))
        self.mean, self.std = float(said.mean()), max(float(said.std()), 1e-6)

    def __call__(self, statistics: np.ndarray) -> np.ndarray:
        """Standardised votes, within ±`LIMIT`, `[count]`."""
        said = self.regression.predict(statistics.astype("float64"))
        return np.clip((said - self.mean) / self.std, -LIMIT, LIMIT)


def link(mos: np.ndarray, opinion: np.ndarray, unit: float) -> np.ndarray:
    """Votes of a set on one scale with those of others, `[count]`; their order stays.

    Args:
        mos: The votes.
        opinion: What the regressions say of the pictures together, see `together`: it gives the
            votes their mean, and their spread.
        unit: Standard deviation of `opinion` that becomes 1.
    """
    return standardised(mos) * opinion.std() / unit + opinion.mean()


def smoothed(
    labels: np.ndarray, statistics: list[np.ndarray], groups: list[str], share: float
) -> np.ndarray:
    """Labels of a set moved towards what a regression says that has not seen them, `[count]`.

    A vote is the mean of a few people's; the regression knows what pictures like it got.

    Args:
        labels: Of pictures of two groups or more.
        statistics: Of the same, `[count, channels]`, the encoder's stages.
        groups: Of each picture; those of one group are unseen together.
        share: 0..1, of the regression.
    """
    said = KernelTeacher(statistics, labels, pictures=0).unseen(groups)
    said, votes = said - said.mean(), labels - labels.mean()
    fitted = labels.mean() + said * (said @ votes) / max(float(said @ said), 1e-9)
    return (1.0 - share) * labels + share * fitted


def together(votes: np.ndarray, published: np.ndarray, weight: float) -> np.ndarray:
    """Labels of about unit variance, float32 `[count]`."""
    return ((votes + weight * published) / math.sqrt(1.0 + weight**2)).astype("float32")


def standardised(mos: np.ndarray) -> np.ndarray:
    return (mos - mos.mean()) / max(float(mos.std()), 1e-6)
