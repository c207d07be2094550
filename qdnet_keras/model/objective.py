"""The terms of the QD-net objective, eq. (4) of the paper, one value a picture."""

from keras import ops

from qdnet_keras.model.layers import GaussianPosterior


def score_likelihood(mos, score, sigma):
    """−log q(y|z) of a Gaussian with constant variance, without its constant.

    Args:
        mos, score: Standardised opinion scores, shape `(batch_size,)`.
        sigma: Standard deviation of q, in standardised units.
    """
    return ops.square(mos - score) / (2.0 * sigma**2)


def kl_divergence(loc, scale):
    """KL(p(z|x) ‖ N(0, I)) in nats, shape `(batch_size,)`."""
    return GaussianPosterior.kl_to_prior(loc, scale)


def reconstruction(picture, rendered):
    """Mean absolute difference of `(batch_size, height, width, 3)` pictures, `(batch_size,)`."""
    return ops.mean(ops.abs(picture - rendered), axis=(1, 2, 3))


def latent_cycle(z, z_again, score, score_again):
    """How far encoding a rendering misses the latent and the score it was rendered for.

    Args:
        z, z_again: Latents of shape `(batch_size, latent_dim)`.
        score, score_again: Standardised scores of shape `(batch_size,)`.
    """
    return ops.mean(ops.square(z - z_again), axis=-1) + ops.square(score - score_again)
