"""QD-net: one network that scores a tone-mapped picture and renders it at another quality.

The data flow, in the paper's symbols:

    x ──E──▶ t ──split──▶ n (content) ────────────────────────────┐
                     └──▶ μ ⊕ σ (statistics) ─▶ p(z|x) ─▶ z ──▶ G(n, z) ─▶ picture
                                                          └──▶ Q(z) ────▶ score

Training, eq. (4), is in `objective`; enhancement, eq. (5) and (6), in `enhancement`.
"""

from collections.abc import Sequence
from typing import Any, Self

import keras
from keras import ops

from qdnet_keras.model.bank import choose_typical
from qdnet_keras.model.calibration import Calibration
from qdnet_keras.model.decoder import HEADS
from qdnet_keras.model.encoder import Encoder
from qdnet_keras.model.encoding import Encoding, Split
from qdnet_keras.model.layers import PICTURE_STATISTICS, GaussianPosterior, InstanceSplit, Novelty
from qdnet_keras.model.objective_model import ObjectiveModel
from qdnet_keras.model.preset_model import PresetModel
from qdnet_keras.model.replicas import draw
from qdnet_keras.model.restorer import Restorer
from qdnet_keras.model.scorer import Scorer
from qdnet_keras.model.types import Shape, Tensor


@keras.saving.register_keras_serializable("qdnet_keras")
class QDNet(PresetModel, ObjectiveModel):
    """Blind quality score and re-rendering by disentangled representation.

    Args:
        encoder: E; by default ResNet50 with random weights.
        head: Of the decoder: `"grid"` (local tone curves) or `"rgb"` (the paper's U-Net).
        latent_dim: Number of dimensions of z.
        z_stages: Encoder stages whose statistics enter the posterior; 0 is the picture itself
            (the paper: the last stage only).
        picture_statistics: Further statistics that enter it, names of `PICTURE_STATISTICS` (the
            paper: none).
        statistics_dropout: Dropout rate of the stages' statistics from which the score is learnt.
        posterior_units: Width of the per-stage compression in the posterior.
        scorer_units: Widths of the three hidden layers of Q.
        dropout: Dropout rate in Q.
        decoder_width: Channels of the decoder, see `qdnet_keras.model.decoder`.
        bank_size: Number of latents kept for enhancement (0: none), see `fill_bank`.

    Call arguments:
        image: Tensor `(batch_size, height, width, 3)`, sRGB-encoded, values in 0..1, sides ≥ 32.

    Call returns:
        A dict of float32 tensors `(batch_size,)`: `"score"`, `"mos"`, `"mos_std"` and `"novelty"`,
        see `qdnet_keras.outcomes.Score`.

    Example:

        model = QDNet.from_preset("people")
        model(image[None])["score"]
        model.compile(keras.optimizers.Adam(1e-3), objective=Objective(beta=0.1))
        model.fit(pairs)  # batches of {"image", "mos", "pair", "pair_mos"}

    Reference:
        Wang et al., "Blind Tone-mapped Image Quality Assessment and Enhancement via
        Disentangled Representation Learning".
    """

    def __init__(
        self,
        encoder: Encoder | None = None,
        head: str = "grid",
        latent_dim: int = 16,
        z_stages: Sequence[int] = (0, 1, 2, 3, 4, 5),
        picture_statistics: Sequence[str] = ("tonal",),
        statistics_dropout: float = 0.0,
        posterior_units: int = 64,
        scorer_units: Sequence[int] = (128, 128, 64),
        dropout: float = 0.5,
        decoder_width: int = 48,
        bank_size: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        policy = self.dtype_policy

        # === Layers ===
        self.encoder = encoder or Encoder(dtype=policy, name="encoder")
        self.instance_split = InstanceSplit(dtype=policy)
        self.describers = [
            PICTURE_STATISTICS[name](dtype="float32", name=name) for name in picture_statistics
        ]
        self.novelty = Novelty(dtype="float32", name="novelty")
        self.posterior = GaussianPosterior(
            latent_dim,
            posterior_units,
            statistics_dropout,
            undropped=len(picture_statistics),
            dtype="float32",
            name="posterior",
        )
        self.restorer = Restorer(dtype="float32", name="restorer")
        self.scorer = Scorer(scorer_units, dropout, dtype="float32", name="scorer")
        self.calibration = Calibration(dtype="float32", name="calibration")
        self.decoder = HEADS[head](decoder_width, dtype=policy, name="decoder")
        self.bank = self.add_weight(
            (bank_size, latent_dim), "zeros", "float32", trainable=False, name="bank"
        )
        self.seed_generator = keras.random.SeedGenerator()

        # === Config ===
        self.head = head
        self.latent_dim = latent_dim
        self.z_stages = tuple(z_stages)
        self.picture_statistics = tuple(picture_statistics)
        self.statistics_dropout = statistics_dropout
        self.posterior_units = posterior_units
        self.scorer_units = tuple(scorer_units)
        self.dropout = dropout
        self.decoder_width = decoder_width
        self.bank_size = bank_size

    def build(self, image_shape: Shape | None = None) -> None:
        channels, z_shape = self.encoder.channels, (None, self.latent_dim)
        picture = (None, None, None, 3)
        for layer in (self.encoder, self.instance_split, *self.describers):
            layer.build(picture)
        seen = [(None, 2 * channels[stage]) for stage in self.z_stages]
        seen += [layer.compute_output_shape(picture) for layer in self.describers]
        description = (None, self.posterior.units * len(seen))
        self.posterior.build(seen)
        self.restorer.build(description, z_shape)
        self.restorer.trainable = False
        self.scorer.build(z_shape)
        self.calibration.build((None,))
        pyramid = [(None, None, None, channels[stage]) for stage in self.encoder.pyramid]
        self.decoder.build(pyramid, z_shape)
        self.novelty.build(seen[0])
        self.built = True

    # === Forward ===

    def call(self, image: Tensor, training: bool = False) -> dict[str, Tensor]:
        return self.report(self.encode(image, training=training))

    def encode(self, image: Tensor, training: bool = False) -> Encoding:
        """x → n and p(z|x): an `Encoding`."""
        split = self.split(image, training=training)
        description = self.posterior.describe(split.statistics, training=training)
        loc, scale = self.posterior.locate(description)
        restored = self.restorer(description, loc)
        novelty = self.novelty(split.statistics[0])
        return Encoding(split.contents, split.moments, loc, scale, restored, novelty)

    def split(self, image: Tensor, training: bool = False) -> Split:
        """x → t → n = (t − μ)/σ and μ ⊕ σ, of every stage: a `Split`."""
        contents, moments = [], []
        for t in self.encoder(image, training=training):
            n, mean, std = self.instance_split(t)
            contents.append(n)
            moments.append(ops.concatenate([mean, std], axis=-1))
        seen = [moments[stage] for stage in self.z_stages]
        seen += [describe(image) for describe in self.describers]
        return Split([contents[stage] for stage in self.encoder.pyramid], moments[0], seen)

    def sample(self, loc: Tensor, scale: Tensor) -> Tensor:
        """z ~ p(z|x), by the network's own seed."""
        noise = draw(
            lambda shape: keras.random.normal(shape, dtype="float32", seed=self.seed_generator),
            ops.shape(loc),
        )
        return loc + scale * noise

    def score_latent(self, z: Tensor) -> Tensor:
        """Q(z) in MOS units, not clipped: `(batch_size, latent_dim)` → `(batch_size,)`."""
        return self.calibration(self.scorer(z))

    def rank_latent(self, z: Tensor) -> Tensor:
        """Q(z) as a score, 0..100: the share of renderings that people would like less."""
        return self.calibration.rank(self.score_latent(z))

    def report(self, encoding: Encoding) -> dict[str, Tensor]:
        """What a call returns of an `Encoding`."""
        mos = self.score_latent(encoding.loc)
        spread = self.posterior.spread(self.score_latent, encoding.loc, encoding.scale)
        return {
            "score": self.calibration.rank(mos),
            "mos": ops.clip(mos, 0.0, 100.0),
            "mos_std": self.calibration.spread(spread),
            "novelty": encoding.novelty,
        }

    def rerender(
        self,
        image: Tensor,
        change: Tensor,
        moments: Tensor,
        origin: Tensor = (0, 0),
        size: Tensor | None = None,
    ) -> Tensor:
        """Pictures, or a tile of one, with their quality changed, see `Decoder.rerender`.

        Args:
            image: `(batch_size, rows, columns, 3)`, values in 0..1.
            change: `decoder.change(n, z, ẑ)` of the whole picture, or of a smaller copy.
            moments: μ ⊕ σ of the same.
            origin: Row and column of the tile's first pixel in the picture.
            size: Height and width of the picture; default: `image` is all of it.
        """
        mean, std = ops.split(moments[:, None, None, :], 2, axis=-1)
        rows, columns = ops.shape(image)[1:3]
        pixels = (origin[0] + ops.arange(rows), origin[1] + ops.arange(columns))
        size = (rows, columns) if size is None else size
        return self.decoder.rerender(image, change, (image - mean) / std, pixels, size)

    def fill_bank(self, latents: Tensor) -> None:
        """Stores `bank_size` of the latents given `(count, latent_dim)`, see `choose_typical`."""
        self.bank.assign(choose_typical(latents, self.bank_size))

    # === Config ===

    def get_config(self) -> dict[str, Any]:
        encoder = self.encoder.get_config()
        return {
            **super().get_config(),
            "encoder": {name: encoder[name] for name in ("network", "taps", "pyramid")},
            "head": self.head,
            "latent_dim": self.latent_dim,
            "z_stages": list(self.z_stages),
            "picture_statistics": list(self.picture_statistics),
            "statistics_dropout": self.statistics_dropout,
            "posterior_units": self.posterior_units,
            "scorer_units": list(self.scorer_units),
            "dropout": self.dropout,
            "decoder_width": self.decoder_width,
            "bank_size": self.bank_size,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        policy = config.get("dtype")
        encoder = Encoder.from_config({**config["encoder"], "dtype": policy, "name": "encoder"})
        return cls(**{**config, "encoder": encoder})
