"""Scores and renders pictures on a TF-Serving that serves an exported QD-net.

Nothing here imports TensorFlow: NumPy, Pillow, grpcio and protobuf are enough for plain PNG and
JPEG files and for arrays; imagecodecs and tifffile read the other kinds. Pictures travel as files,
PNG or JPEG, through the signatures `score_bytes` and `enhance_bytes`, which take any mix of sizes;
`predict` calls any signature.
"""

from qdnet_keras.client.asynchronous import AsyncClient
from qdnet_keras.client.client import Client

__all__ = ["AsyncClient", "Client"]
