"""What commands and calls use unless they are told otherwise."""

DEFAULT_PRESET = "people"
DEFAULT_CONFIG = "scratch"
DEFAULT_TEACHING = "people"
DEFAULT_RESNET = "imagenet"
WORKING_SIDE = 384  # pixels: long side of the copy that statistics are taken from
