"""What the model's annotations name. Shapes and dtypes of tensors stand in docstrings."""

from typing import Any

Tensor = Any  # of Keras or TensorFlow, or a NumPy array
Shape = tuple[Any, ...]  # of whole numbers, None where a size is not known
Pixels = tuple[Tensor, Tensor]  # rows and columns of a picture, integer vectors
