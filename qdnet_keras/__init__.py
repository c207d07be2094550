"""QD-net: blind quality scores for tone-mapped photographs, and re-rendering at a target score.

The public names are those of `__init__.pyi`. Each is imported when it is first used: `import
qdnet_keras` does not import TensorFlow.
"""

import lazy_loader

__version__ = "0.2.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
