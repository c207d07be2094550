"""QD-net: one network that scores a tone-mapped picture and renders it at another quality.

The data flow, in the paper's symbols:

    x ──E──▶ t ──split──▶ n (content)            ──────────────┐
                     └──▶ μ ⊕ σ ──posterior──▶ p(z|x) ─▶ z ──▶ G(n, z) ─▶ picture
                                                          └──▶ Q(z) ────▶ score
"""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from qdnet_keras.model import objective as losses
from qdnet_keras.model.decoder import HEADS, add_change, take_pixels
from qdnet_keras.model.encoder import Encoder
from qdnet_keras.model.layers import GaussianPosterior, NaturalStatistics, Novelty
from qdnet_keras.model.scorer import Scorer

TERMS = ("score", "kl", "reconstruction", "swap", "cycle")
TRAIN_STRIDE = 2


@keras.saving.register_keras_serializable("qdnet_keras")
class QDNet(keras.Model):
    """Blind quality score and re-rendering by disentangled representation.

    Args:
        head: `"grid"` (bilateral grid of colour transforms, sharp at any resolution) or `"rgb"`
            (the paper's U-Net).
        latent_dim: Number of dimensions of z.
        z_stages: Encoder stages whose statistics enter the posterior; 0 is the picture itself,
            5 the last stage of ResNet50 (the paper uses the last stage only).
        natural_statistics: Whether natural scene statistics of the picture enter the posterior
            beside those of the encoder (the paper: no). Scores of scenes never seen gain most.
        statistics_dropout: Dropout rate of the statistics from which the score term is learnt.
            They are many and pictures few: without it, the posterior remembers pictures. The
            decoder always sees the z of all statistics.
        posterior_units: Width of the per-stage compression in the posterior.
        scorer_units: Widths of the three hidden layers of Q.
        dropout: Dropout rate in Q.
        decoder_width: Channels of the decoder, see `qdnet_keras.model.decoder`.
        grid_depth: Guide cells of the bilateral grid (head `"grid"` only).
        score_sigma: Standard deviation of q(y|z), in standardised MOS.
        alpha: Weight of the self-reconstruction ‖x − G(n, z)‖₁.
        beta: Weight of KL(p(z|x) ‖ N(0, I)), reached linearly over `kl_warmup` steps.
        gamma: Weight of the swapped pair ‖x̃ − G(n, z̃)‖₁.
        cycle: Weight of the latent cycle term (0: off), active after `cycle_start` steps.
        kl_warmup, cycle_start: Numbers of optimiser steps.
        mos_mean, mos_std: Mean and standard deviation of the training MOS (0..100); Q works in
            standardised units.
        residual_std: Standard deviation of what labels differ from the score besides the
            posterior's spread, MOS units; training measures it on the validation pictures.
        bank_size: Number of posterior samples kept for enhancement (0: none), see `fill_bank`.
        encoder_weights: Start of the encoder, see `Encoder`. Not part of the config.

    Call arguments:
        image: Tensor `(batch_size, height, width, 3)`, sRGB-encoded, values in 0..1, sides ≥ 32.

    Returns:
        A dict of float32 tensors `(batch_size,)`: `"score"` (MOS, 0..100), `"score_std"` (its
        standard deviation: the posterior's spread and `residual_std`, MOS units) and `"novelty"`
        (above 1 the picture is not of the kind that the network knows, see `Novelty`).

    Example:

        model = QDNet.from_preset("open-tm")
        model(image[None])["score"]
        model.compile(keras.optimizers.Adam(1e-3))
        model.fit(pairs)  # batches of {"image", "mos", "pair", "pair_mos"}

    Reference:
        Wang et al., "Blind Tone-mapped Image Quality Assessment and Enhancement via
        Disentangled Representation Learning".
    """

    def __init__(
        self,
        head="grid",
        latent_dim=16,
        z_stages=(0, 1, 2, 3, 4, 5),
        natural_statistics=True,
        statistics_dropout=0.0,
        posterior_units=64,
        scorer_units=(128, 128, 64),
        dropout=0.5,
        decoder_width=64,
        grid_depth=8,
        score_sigma=1.0,
        alpha=10.0,
        beta=1e-2,
        gamma=10.0,
        cycle=0.0,
        kl_warmup=0,
        cycle_start=0,
        mos_mean=50.0,
        mos_std=12.0,
        residual_std=0.0,
        bank_size=0,
        encoder_weights=None,
        **kwargs,
    ):
        super().__init__(**kwargs)

        # === Layers ===
        policy = self.dtype_policy
        self.encoder = Encoder(encoder_weights, dtype=policy, name="encoder")
        self.picture_statistics = NaturalStatistics(dtype="float32", name="natural_statistics")
        self.novelty = Novelty(dtype="float32", name="novelty")
        self.posterior = GaussianPosterior(
            latent_dim, posterior_units, statistics_dropout, dtype="float32", name="posterior"
        )
        self.scorer = Scorer(scorer_units, dropout, dtype="float32", name="scorer")
        head_options = {"depth": grid_depth} if head == "grid" else {}
        self.decoder = HEADS[head](decoder_width, dtype=policy, name="decoder", **head_options)

        # === State ===
        self.bank = self.add_weight(
            shape=(bank_size, latent_dim),
            initializer="zeros",
            trainable=False,
            dtype="float32",
            name="bank",
        )
        self.seed_generator = keras.random.SeedGenerator()
        self.trackers = {name: keras.metrics.Mean(name) for name in ("loss", *TERMS)}

        # === Config ===
        self.head = head
        self.latent_dim = latent_dim
        self.z_stages = tuple(z_stages)
        self.natural_statistics = natural_statistics
        self.statistics_dropout = statistics_dropout
        self.posterior_units = posterior_units
        self.scorer_units = tuple(scorer_units)
        self.dropout = dropout
        self.decoder_width = decoder_width
        self.grid_depth = grid_depth
        self.score_sigma = score_sigma
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.cycle = cycle
        self.kl_warmup = kl_warmup
        self.cycle_start = cycle_start
        self.mos_mean = mos_mean
        self.mos_std = mos_std
        self.residual_std = residual_std
        self.bank_size = bank_size

    def build(self, image_shape=None):
        contents, loc, _ = self.encode(ops.zeros((1, 64, 64, 3)))
        self.scorer(loc)
        self.decoder(contents, loc)
        self.novelty(self.picture_statistics(ops.zeros((1, 64, 64, 3))))
        self.built = True

    # === Forward ===

    def encode(self, image, training=False):
        """E: picture → `(contents, loc, scale)`, the content n and the posterior p(z|x)."""
        contents, statistics = self.split(image, training=training)
        loc, scale = self.posterior(statistics, training=training)
        return contents, loc, scale

    def split(self, image, training=False):
        """Picture → contents n of all stages, and the statistics that the posterior sees."""
        contents, statistics = self.encoder(image, training=training)
        chosen = [statistics[i] for i in self.z_stages]
        if self.natural_statistics:
            chosen.append(self.picture_statistics(image))
        return contents, chosen

    def decode(self, contents, z, pixels=None):
        """G(n, z): picture `(batch_size, height, width, 3)`, float32, not clipped."""
        return self.decoder(contents, z, pixels=pixels)

    def rerender(self, image, contents, z, new_z):
        """The picture with its quality changed: image + G(n, new_z) − G(n, z), not clipped.

        Where new_z = z this is the picture itself, and what the decoder cannot reproduce is kept.
        Hues are kept, see `add_change`.
        """
        size = ops.shape(image)[1:3]
        pixels = (ops.arange(size[0]), ops.arange(size[1]))
        change = self.decoder.change(contents, z, new_z)
        return add_change(image, self.decoder.render(change, contents[0], pixels, size))

    def score_latent(self, z):
        """Q(z) in MOS units, not clipped: `(batch_size, latent_dim)` → `(batch_size,)`."""
        return self.mos_mean + self.mos_std * self.scorer(z)

    def score_posterior(self, loc, scale):
        """Score at the posterior mean and its standard deviation, see `score_std`.

        One fixed block of antithetic noise serves every picture, so that a score depends neither
        on the batch it came in nor on the calls before it.
        """
        half = np.random.default_rng(0).standard_normal((16, 1, self.latent_dim))
        noise = ops.array(np.concatenate([half, -half]), "float32")
        samples = ops.reshape(loc + scale * noise, (-1, self.latent_dim))
        spread = ops.var(ops.reshape(self.score_latent(samples), (noise.shape[0], -1)), axis=0)
        score = ops.clip(self.score_latent(loc), 0.0, 100.0)
        return score, ops.sqrt(spread + self.residual_std**2)

    def call(self, image, training=False):
        _, statistics = self.split(image, training=training)
        score, score_std = self.score_posterior(*self.posterior(statistics, training=training))
        natural = statistics[-1] if self.natural_statistics else self.picture_statistics(image)
        return {"score": score, "score_std": score_std, "novelty": self.novelty(natural)}

    # === Training ===

    def compute_terms(self, batch, training):
        """The terms of eq. (4), averaged over the batch; either picture of a pair is x once."""
        image = ops.concatenate([batch["image"], batch["pair"]], axis=0)
        mos = ops.concatenate([batch["mos"], batch["pair_mos"]], axis=0)
        contents, statistics = self.split(image, training=training)
        loc, scale = self.posterior(statistics, training=training)
        z = scored_z = loc
        if training:
            z = scored_z = self._sample(loc, scale)
            if self.statistics_dropout:
                scored_z = self._sample(*self.posterior(statistics, training=True, dropped=True))
        score = self.scorer(scored_z, training=training)
        swapped_z = _swap_halves(z)
        pixels = self._loss_pixels(image, training)
        target = take_pixels(image, pixels)
        rendered = self.decode(contents, z, pixels)
        swapped = self.decode(contents, swapped_z, pixels)
        standardised = (mos - self.mos_mean) / self.mos_std
        terms = {
            "score": losses.score_likelihood(standardised, score, self.score_sigma),
            "kl": losses.kl_divergence(loc, scale),
            "reconstruction": losses.reconstruction(target, rendered),
            "swap": losses.reconstruction(_swap_halves(target), swapped),
        }
        terms = {name: ops.mean(values) for name, values in terms.items()}
        terms["cycle"] = 0.0
        if training and self.cycle:  # of the first pictures: another pass of the encoder is dear
            first = slice(ops.shape(image)[0] // 2)
            new_z = self._mix_with_neighbours(z)[first]
            firsts = [content[first] for content in contents]
            terms["cycle"] = self._cycle_term(image[first], firsts, z[first], new_z)
        return terms

    def total_loss(self, terms, step):
        """Weighted sum of the terms at an optimiser step."""
        warmup = ops.minimum(1.0, (ops.cast(step, "float32") + 1.0) / max(self.kl_warmup, 1))
        return (
            terms["score"]
            + self.beta * warmup * terms["kl"]
            + self.alpha * terms["reconstruction"]
            + self.gamma * terms["swap"]
            + self.cycle * terms["cycle"]
        )

    def train_step(self, data):
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        with tf.GradientTape() as tape:
            terms = self.compute_terms(data, training=True)
            loss = self.total_loss(terms, self.optimizer.iterations)
            scaled = self.optimizer.scale_loss(loss / replicas)
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, variables), variables)
        return self._track(loss, terms)

    def test_step(self, data):
        terms = self.compute_terms(data, training=False)
        return self._track(self.total_loss(terms, self.kl_warmup), terms)

    def _loss_pixels(self, image, training):
        """Rows and columns on which pictures are compared: one in `TRAIN_STRIDE`, all in tests.

        A random quarter of the pixels gives an unbiased gradient at a quarter of the cost.
        """
        height, width = ops.shape(image)[1:3]
        if not training:
            return ops.arange(height), ops.arange(width)
        first = keras.random.randint((2,), 0, TRAIN_STRIDE, seed=self.seed_generator)
        rows = ops.arange(0, height - TRAIN_STRIDE + 1, TRAIN_STRIDE) + first[0]
        columns = ops.arange(0, width - TRAIN_STRIDE + 1, TRAIN_STRIDE) + first[1]
        return rows, columns

    def _sample(self, loc, scale):
        seed = ops.cast(self.seed_generator.next(), "int32")
        return self.posterior.distribution(loc, scale).sample(seed=seed)

    def _mix_with_neighbours(self, z):
        """ε z̄ + (1 − ε) z with the latent of another picture as z̄ and random ε, as eq. (6)."""
        epsilon = keras.random.uniform((ops.shape(z)[0], 1), seed=self.seed_generator)
        return z + epsilon * (ops.roll(z, 1, axis=0) - z)

    def _cycle_term(self, image, contents, z, new_z):
        """Latent cycle of the re-rendered picture, whose gradient reaches the decoder alone.
        The gradient with respect to the re-rendered picture is computed first; multiplying the
        picture by it gives a surrogate with the same gradient in the decoder's weights.
        """
        z, new_z = ops.stop_gradient(z), ops.stop_gradient(new_z)
        contents = [ops.stop_gradient(content) for content in contents]

        def active():
            rendered = ops.clip(self.rerender(image, contents, z, new_z), 0.0, 1.0)
            with tf.GradientTape() as tape:
                fixed = ops.stop_gradient(rendered)
                tape.watch(fixed)
                _, loc, _ = self.encode(fixed)
                score, score_again = self.scorer(new_z), self.scorer(loc)
                loss = ops.mean(losses.latent_cycle(new_z, loc, score, score_again))
            slope = ops.stop_gradient(tape.gradient(loss, fixed))
            surrogate = ops.sum(slope * rendered)
            return ops.stop_gradient(loss - surrogate) + surrogate

        started = self.optimizer.iterations >= self.cycle_start
        return tf.cond(started, active, lambda: 0.0)

    def _track(self, loss, terms):
        self.trackers["loss"].update_state(loss)
        for name, value in terms.items():
            self.trackers[name].update_state(value)
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    @property
    def metrics(self):
        return list(self.trackers.values())

    # === Enhancement's memory of real qualities ===

    def fill_bank(self, latents):
        """Stores `bank_size` latents, evenly spread over those given `(count, latent_dim)`.

        The twentieth that lies farthest from the mean, in standard deviations, is left out: such
        qualities are shared with no other picture.
        """
        latents = np.asarray(latents, "float32")
        distance = np.square((latents - latents.mean(0)) / (latents.std(0) + 1e-6)).sum(-1)
        typical = latents[distance <= np.quantile(distance, 0.95)]
        chosen = np.linspace(0, len(typical) - 1, self.bank_size).round().astype(int)
        self.bank.assign(typical[chosen])

    # === Config and presets ===

    def get_config(self):
        return {
            **super().get_config(),
            "head": self.head,
            "latent_dim": self.latent_dim,
            "z_stages": list(self.z_stages),
            "natural_statistics": self.natural_statistics,
            "statistics_dropout": self.statistics_dropout,
            "posterior_units": self.posterior_units,
            "scorer_units": list(self.scorer_units),
            "dropout": self.dropout,
            "decoder_width": self.decoder_width,
            "grid_depth": self.grid_depth,
            "score_sigma": self.score_sigma,
            "alpha": self.alpha,
            "beta": self.beta,
            "gamma": self.gamma,
            "cycle": self.cycle,
            "kl_warmup": self.kl_warmup,
            "cycle_start": self.cycle_start,
            "mos_mean": self.mos_mean,
            "mos_std": self.mos_std,
            "residual_std": self.residual_std,
            "bank_size": self.bank_size,
        }

    @classmethod
    def from_preset(cls, preset, **kwargs):
        """Loads a released preset by name, or a folder that `save_to_preset` wrote.

        Args:
            preset: Name or path of a folder.
            **kwargs: Constructor arguments that replace those of the preset, e.g. `dtype`.

        Raises:
            PresetError: If it does not exist, is damaged or does not fit.
        """
        from qdnet_keras.model import presets

        return presets.load_preset(cls, preset, **kwargs)

    def save_to_preset(self, folder):
        """Writes config and float16 weights to a folder; see `qdnet_keras.model.presets`."""
        from qdnet_keras.model import presets

        presets.save_preset(self, folder)


def _swap_halves(batch):
    first, second = ops.split(batch, 2, axis=0)
    return ops.concatenate([second, first], axis=0)
