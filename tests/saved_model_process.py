"""Runs requests on a SavedModel as TF-Serving does; started as a process without this package.

    python -I saved_model_process.py FOLDER requests.pickle answers.pickle

`requests.pickle` holds `[(signature, inputs), ...]`; the answer to a request is a dict of arrays,
or the name and message of the error.
"""

import os
import pickle
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
sys.modules["qdnet_keras"] = None  # importing it fails

import tensorflow as tf  # noqa: E402
from tensorflow.core.protobuf import config_pb2  # noqa: E402


class Signature:
    """Called by tensor names and past the shape checks of Python, as the C++ server does it."""

    def __init__(self, session, signature_def):
        self.inputs, self.outputs = sorted(signature_def.inputs), sorted(signature_def.outputs)
        options = config_pb2.CallableOptions(
            feed=[signature_def.inputs[name].name for name in self.inputs],
            fetch=[signature_def.outputs[name].name for name in self.outputs],
        )
        self.run = session._make_callable_from_options(options)

    def __call__(self, inputs):
        try:
            results = self.run(*(inputs[name] for name in self.inputs))
        except tf.errors.OpError as error:
            return type(error).__name__, error.message
        return dict(zip(self.outputs, results, strict=True))


def main(folder, requests_file, answers_file):
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        meta_graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)
    with open(requests_file, "rb") as file:
        requests = pickle.load(file)
    names = {name for name, _ in requests}  # each is compiled once: that takes seconds
    used = {name: Signature(session, meta_graph.signature_def[name]) for name in names}
    answers = [used[name](inputs) for name, inputs in requests]
    with open(answers_file, "wb") as file:
        pickle.dump(answers, file)


main(*sys.argv[1:])
