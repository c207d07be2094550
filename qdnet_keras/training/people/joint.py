"""What is learnt at once from votes and from spoilt photographs, one batch a step.

votes        −E[log q(y|z)] of pictures with labels, and of another view of each
mixtures     the same of two pictures' mixed statistics, whose label is as mixed
steady       a picture and its view score alike
spoilt       the same of spoilt photographs, whose label is at least a margin below their own
order        a photograph's score lies above those of its spoilt versions, by the margin
kl           KL(p(z|x) ‖ N(0, I))
reconstruction, swap, restoration
             ‖x − G(n, z)‖₁; x changed from z to a version's z̃ is that version; a spoilt
             version changed to what the restorer says is the photograph
"""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from qdnet_keras.model.decoder import take_pixels
from qdnet_keras.model.objective import kl_divergence, reconstruction
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.model.tone import Tones, change_between
from qdnet_keras.training.people.config import PeopleLossSection

TERMS = (
    "votes",
    "mixtures",
    "steady",
    "spoilt",
    "order",
    "kl",
    "reconstruction",
    "swap",
    "restoration",
)
STEEPNESS = 4.0  # of the order's logistic loss


class JointTraining(keras.Model):
    """Trains a network, whose encoder stays as it is, on batches of `Batches`.

    Where the posterior does not learn, the decoder and the restorer see the z that is used later:
    statistics are left out of what the restorer sees, not of z.

    Args:
        network: With the grid head; its statistics' standardisation is known.
        options: Weights of the terms.
        kl_warmup: Steps after which the divergence has its whole weight.
    """

    def __init__(self, network: QDNet, options: PeopleLossSection, kl_warmup: int):
        super().__init__(name="joint_training")
        self.network = network
        self.options = options
        self.kl_warmup = max(kl_warmup, 1)
        self.trackers = {name: keras.metrics.Mean(name) for name in ("loss", *TERMS)}
        self.built = True

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            terms = self.terms(batch, training=True)
            loss = self.total(terms, self.optimizer.iterations)
        variables = self.network.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return self._track(loss, terms)

    def test_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        terms = self.terms(batch, training=False)
        return self._track(self.total(terms, self.kl_warmup), terms)

    def terms(self, batch: dict[str, Any], training: bool) -> dict[str, Any]:
        """The terms, averaged over a batch."""
        terms, kl_spoilt = self._of_spoilt(batch, training)
        statistics = [ops.reshape(stage, (-1, stage.shape[-1])) for stage in batch["statistics"]]
        loc, scale = self.network.posterior(statistics, dropped=training)
        score = self.network.scorer(self._sample(loc, scale, training), training=training)
        score = ops.reshape(score, (-1, 2))
        return {
            "votes": ops.mean(ops.square(score - batch["votes"][:, None])),
            "mixtures": self._of_mixtures(batch, training),
            "steady": ops.mean(ops.square(score[:, 0] - score[:, 1])),
            **terms,
            "kl": (kl_spoilt + ops.mean(kl_divergence(loc, scale))) / 2.0,
        }

    def total(self, terms: dict[str, Any], step: Any) -> Any:
        """Weighted sum of the terms at an optimiser step."""
        weights = self.options
        warmup = ops.minimum(1.0, ops.cast(step, "float32") / self.kl_warmup)
        return (
            weights.score * (terms["votes"] + weights.mixtures * terms["mixtures"])
            + weights.steady * terms["steady"]
            + weights.spoilt * terms["spoilt"]
            + weights.order * terms["order"]
            + weights.beta * warmup * terms["kl"]
            + weights.reconstruction * terms["reconstruction"]
            + weights.swap * terms["swap"]
            + weights.restoration * terms["restoration"]
        )

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(self.trackers.values())

    def _of_mixtures(self, batch: dict[str, Any], training: bool) -> Any:
        """Reference: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018."""
        share, votes = batch["share"], batch["votes"]

        def mixed(values: Any, share: Any) -> Any:
            return values + share * (ops.take(values, batch["mixed"], axis=0) - values)

        statistics = [mixed(stage[:, 0], share[:, None]) for stage in batch["statistics"]]
        loc, scale = self.network.posterior(statistics, dropped=training)
        score = self.network.scorer(self._sample(loc, scale, training), training=training)
        return ops.mean(ops.square(ops.reshape(score, (-1,)) - mixed(votes, share)))

    def _of_spoilt(self, batch: dict[str, Any], training: bool) -> tuple[dict[str, Any], Any]:
        network = self.network
        posterior, versions = network.posterior, batch["versions"]
        description = posterior.describe(versions, dropped=training)
        loc, scale = posterior.locate(
            description if posterior.trainable else posterior.describe(versions)
        )
        z = self._sample(loc, scale, training)
        count = ops.shape(batch["labels"])[1]
        score = ops.reshape(network.scorer(z, training=training), (-1, count))
        margin = self.options.margin * batch["strength"][:, 1:]
        below = score[:, :1] - score[:, 1:] - margin
        label = ops.minimum(batch["labels"][:, 1:], batch["labels"][:, :1] - margin)
        terms = {
            "spoilt": ops.square(score[:, 1:] - label),
            "order": ops.softplus(-STEEPNESS * below) / STEEPNESS,
            **self._rendered(batch, description, loc, z, training),
        }
        terms = {name: ops.mean(values) for name, values in terms.items()}
        return terms, ops.mean(kl_divergence(loc, scale))

    def _rendered(
        self, batch: dict[str, Any], description: Any, loc: Any, z: Any, training: bool
    ) -> dict[str, Any]:
        weights = self.options
        if not (weights.reconstruction or weights.swap or weights.restoration):
            return dict.fromkeys(("reconstruction", "swap", "restoration"), ops.zeros(()))
        network, decoder = self.network, self.network.decoder
        pictures = ops.cast(batch["pictures"], "float32") / 255.0
        mean, std = ops.split(batch["moments"][:, None, None, :], 2, axis=-1)
        contents = self._contents((pictures - mean) / std, batch["contents"])
        tones = decoder.draw(contents, z)
        partner = decoder.draw(contents, ops.take(z, batch["partner"], axis=0))
        best = network.restorer(description, ops.stop_gradient(loc))
        restored = decoder.draw(contents, best)

        size = ops.shape(pictures)[1:3]
        pixels = self._pixels(size, training)
        seen, content = take_pixels(pictures, pixels), take_pixels(contents[0], pixels)

        def changed(new: Tones) -> Any:
            return decoder.rerender(seen, change_between(tones, new), content, pixels, size)

        count = ops.shape(batch["labels"])[1]
        spoilt = ops.arange(ops.shape(seen)[0]) % count > 0
        photographs = ops.repeat(seen[::count], count, axis=0)[spoilt]
        return {
            "reconstruction": reconstruction(seen, decoder(contents, z, pixels=pixels)),
            "swap": reconstruction(ops.take(seen, batch["partner"], axis=0), changed(partner)),
            "restoration": reconstruction(photographs, changed(restored)[spoilt]),
        }

    def _contents(self, picture: Any, coarse: Any) -> list[Any]:
        """As `QDNet.split` gives them; those that the grid head does not look at are None."""
        dtype = self.network.compute_dtype
        unseen = [None] * (self.network.decoder.LAST_STAGE - 1)
        return [picture, *unseen, *(ops.cast(content, dtype) for content in coarse)]

    def _sample(self, loc: Any, scale: Any, training: bool) -> Any:
        return self.network.sample(loc, scale) if training else loc

    def _pixels(self, size: Any, training: bool) -> tuple[Any, Any]:
        """Rows and columns on which pictures are compared, each from a random first one on."""
        stride = self.options.stride
        first = [0, 0]
        if training:
            first = keras.random.randint((2,), 0, stride, seed=self.network.seed_generator)
        rows, columns = (ops.arange(0, side - stride + 1, stride) for side in size)
        return rows + first[0], columns + first[1]

    def _track(self, loss: Any, terms: dict[str, Any]) -> dict[str, Any]:
        for name, value in {"loss": loss, **terms}.items():
            self.trackers[name].update_state(value)
        return {name: tracker.result() for name, tracker in self.trackers.items()}
