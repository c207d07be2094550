from qdnet_keras.cli import app

app(prog_name="qdnet-keras")
