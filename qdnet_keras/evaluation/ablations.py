"""QD-net with one choice made otherwise, by name: what the configuration is overridden with."""

ABLATIONS: dict[str, tuple[str, ...]] = {
    "no-kl": ("loss.beta=0",),
    "no-pair": ("loss.gamma=0",),
    "score-only": ("loss.alpha=0", "loss.beta=0", "loss.gamma=0", "loss.cycle=0"),
    "rgb": ("model.head=rgb",),
    "grid": ("model.head=grid",),
    "no-statistics": ("model.picture_statistics=[]",),
    "z-2": ("model.latent_dim=2",),
    "z-4": ("model.latent_dim=4",),
    "z-64": ("model.latent_dim=64",),
    "beta-0.001": ("loss.beta=0.001",),
    "beta-0.1": ("loss.beta=0.1",),
    "gamma-1": ("loss.gamma=1",),
    "gamma-100": ("loss.gamma=100",),
    "no-cycle": ("loss.cycle=0",),
    "cycle-at-once": ("loss.cycle_start=0",),
    "stage-0-alone": ("model.z_stages=[0]", "model.picture_statistics=[]"),
    "stage-5-alone": ("model.z_stages=[5]", "model.picture_statistics=[]"),
}
