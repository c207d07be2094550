"""`python -m qdnet_keras` is the command `qdnet-keras`."""

from qdnet_keras.cli import app

app(prog_name="qdnet-keras")
