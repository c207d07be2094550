"""What the network makes of pictures; tensors but for contents are float32."""

from typing import Any, NamedTuple


class Split(NamedTuple):
    """Pictures taken apart into what is where and how it looks."""

    contents: list[Any]  # n of the pyramid, (batch_size, height_i, width_i, channels_i)
    moments: Any  # μ ⊕ σ of the pictures themselves, (batch_size, 6)
    statistics: list[Any]  # what the posterior sees, (batch_size, count_i) each


class Encoding(NamedTuple):
    """What the network knows of pictures: see `Split`, `Restorer` and `Novelty`."""

    contents: list[Any]
    moments: Any
    loc: Any  # of p(z|x), (batch_size, latent_dim)
    scale: Any
    restored: Any  # z̄ of the restorer, (batch_size, latent_dim)
    novelty: Any  # (batch_size,)
