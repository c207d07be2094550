"""The score as ONNX: ONNX Runtime against TensorFlow, and what Triton reads beside the graph."""

import json
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from typer.testing import CliRunner

from qdnet_keras import QDNet
from qdnet_keras.cli import app
from qdnet_keras.defaults import DEFAULT_PRESET, WORKING_SIDE
from qdnet_keras.errors import OutputError, PresetError
from qdnet_keras.export import onnx as to_onnx
from qdnet_keras.export.saved_model import MAX_BATCH
from qdnet_keras.model import graphs
from qdnet_keras.outcomes import SCORES
from qdnet_keras.photos.files import read_photo, working_copy

SAMPLES = sorted(Path(str(resources.files("qdnet_keras") / "samples")).glob("*.jpg"))
# Fields of Triton's ModelConfig that the configuration may have, from model_config.proto.
MODEL_CONFIG = """
name: "model_config.proto" package: "inference" syntax: "proto3"
enum_type { name: "DataType"
  value { name: "TYPE_INVALID" number: 0 } value { name: "TYPE_FP32" number: 11 } }
enum_type { name: "Format"
  value { name: "FORMAT_NONE" number: 0 } value { name: "FORMAT_NHWC" number: 1 } }
message_type { name: "Reshape" field { name: "shape" number: 1 label: 3 type: 3 } }
message_type { name: "ModelInput"
  field { name: "name" number: 1 type: 9 }
  field { name: "data_type" number: 2 type: 14 type_name: ".inference.DataType" }
  field { name: "format" number: 3 type: 14 type_name: ".inference.Format" }
  field { name: "dims" number: 4 label: 3 type: 3 } }
message_type { name: "ModelOutput"
  field { name: "name" number: 1 type: 9 }
  field { name: "data_type" number: 2 type: 14 type_name: ".inference.DataType" }
  field { name: "dims" number: 3 label: 3 type: 3 }
  field { name: "reshape" number: 5 type: 11 type_name: ".inference.Reshape" } }
message_type { name: "Batching" field { name: "max_queue_delay_microseconds" number: 2 type: 4 } }
message_type { name: "Warmup"
  field { name: "name" number: 1 type: 9 }
  field { name: "batch_size" number: 2 type: 13 }
  field { name: "inputs" number: 3 label: 3 type: 11 type_name: ".inference.Warmup.Entry" }
  nested_type { name: "Entry" options { map_entry: true }
    field { name: "key" number: 1 label: 1 type: 9 }
    field { name: "value" number: 2 label: 1 type: 11 type_name: ".inference.Warmup.Input" } }
  nested_type { name: "Input"
    field { name: "data_type" number: 1 type: 14 type_name: ".inference.DataType" }
    field { name: "dims" number: 2 label: 3 type: 3 }
    field { name: "random_data" number: 4 type: 8 } } }
message_type { name: "ModelConfig"
  field { name: "backend" number: 17 type: 9 }
  field { name: "max_batch_size" number: 4 type: 5 }
  field { name: "input" number: 5 label: 3 type: 11 type_name: ".inference.ModelInput" }
  field { name: "output" number: 6 label: 3 type: 11 type_name: ".inference.ModelOutput" }
  field { name: "dynamic_batching" number: 11 type: 11 type_name: ".inference.Batching" }
  field { name: "model_warmup" number: 16 label: 3 type: 11 type_name: ".inference.Warmup" } }
"""


def copies() -> dict[str, np.ndarray]:
    """Working copies of photographs, and of what is no photograph."""
    draw = np.random.default_rng(0)
    found = {file.stem: working_copy(read_photo(file).pixels, WORKING_SIDE) for file in SAMPLES}
    ramp = np.linspace(0, 1, 384, dtype=np.float32)
    found["noise"] = draw.random((256, 384, 3), np.float32)
    found["grey"] = np.full((384, 216, 3), 0.5, np.float32)
    found["black"] = np.zeros((64, 384, 3), np.float32)
    found["white and black"] = draw.integers(0, 2, (99, 384, 3)).astype(np.float32)
    found["ramp"] = np.tile(ramp[None, :, None], (101, 1, 3))
    found["red ramp"] = found["ramp"] * np.array([1, 0, 0], np.float32)
    found["tiny"] = draw.random((32, 32, 3), np.float32) ** 3
    found["strip"] = draw.random((32, 8192, 3), np.float32)
    return found


COPIES = copies()


@pytest.fixture(scope="module")
def model() -> QDNet:
    return QDNet.from_preset(DEFAULT_PRESET)


@pytest.fixture(scope="module")
def repository(model, tmp_path_factory) -> Path:
    """The folder of the released preset in a model repository."""
    out = tmp_path_factory.mktemp("repository") / "qdnet"
    assert to_onnx.export(model, out) == out / "1"
    return out


@pytest.fixture(scope="module")
def session(repository) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(repository / "1" / "model.onnx")


@pytest.fixture(scope="module")
def tiny_graph(tiny_preset) -> onnx.ModelProto:
    return to_onnx.translate(QDNet.from_preset(tiny_preset))


@pytest.fixture
def tiny(tiny_preset, tiny_graph, monkeypatch) -> QDNet:
    """A network whose translation, which takes seconds, is there already."""
    monkeypatch.setattr(to_onnx, "translate", lambda _: tiny_graph)
    return QDNet.from_preset(tiny_preset)


def scores(session: onnxruntime.InferenceSession, copies: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(SCORES, session.run(list(SCORES), {"copy": copies}), strict=True))


@pytest.mark.parametrize("name", COPIES)
def test_a_picture_scores_as_in_tensorflow(name, model, session):
    copy = COPIES[name][None]
    expected = graphs.score(model)(copy)
    for key, values in scores(session, copy).items():
        np.testing.assert_allclose(values, expected[key], rtol=1e-5, atol=1e-4, err_msg=key)


def test_a_score_does_not_depend_on_its_batch(session):
    """What Triton's dynamic batching rests on."""
    together = np.stack([COPIES["noise"], COPIES["noise"][::-1] ** 2, COPIES["noise"] / 3])
    for key, values in scores(session, together).items():
        alone = [scores(session, copy[None])[key][0] for copy in together]
        np.testing.assert_allclose(values, alone, rtol=1e-5, atol=1e-4, err_msg=key)


def test_the_graph_is_plain_onnx_that_older_runtimes_read(repository):
    graph = onnx.load(repository / "1" / "model.onnx")
    onnx.checker.check_model(graph, full_check=True)
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 18)]
    assert graph.ir_version <= 8
    assert {node.domain for node in graph.graph.node} == {""} and not graph.functions


def test_triton_finds_the_inputs_and_outputs_of_the_graph(repository, session):
    file = text_format.Parse(MODEL_CONFIG, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))
    config = text_format.Parse((repository / "config.pbtxt").read_text(), message())
    assert config.backend == "onnxruntime"
    assert config.max_batch_size == MAX_BATCH
    (copy,) = config.input
    (image,) = session.get_inputs()
    assert (copy.name, image.type) == (image.name, "tensor(float)")
    assert list(copy.dims) == [size if isinstance(size, int) else -1 for size in image.shape[1:]]
    assert {output.name for output in config.output} == set(SCORES)
    for output in session.get_outputs():
        (told,) = (told for told in config.output if told.name == output.name)
        assert (output.type, len(output.shape)) == ("tensor(float)", 1)  # [B], without dimensions
        assert (list(told.dims), told.HasField("reshape")) == ([1], True)
        assert not told.reshape.shape
    assert config.HasField("dynamic_batching")
    (request,) = config.model_warmup
    assert max(request.inputs["copy"].dims) == WORKING_SIDE


def test_a_second_version_leaves_the_configuration_as_it_was_edited(tiny, tmp_path):
    assert to_onnx.export(tiny, tmp_path, 7) == tmp_path / "7"
    (tmp_path / "config.pbtxt").write_text("mine")
    assert to_onnx.export(tiny, tmp_path) == tmp_path / "8"
    assert (tmp_path / "config.pbtxt").read_text() == "mine"
    with pytest.raises(OutputError, match="exists already"):
        to_onnx.export(tiny, tmp_path, 8)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["7", "8", "config.pbtxt"]


def test_a_graph_that_scores_otherwise_is_not_written(tiny, tmp_path):
    tiny.calibration.mos_mean.assign(tiny.calibration.mos_mean + 1)
    with pytest.raises(PresetError, match="off the network's score"):
        to_onnx.export(tiny, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_operator_without_translation_is_told(tiny_preset, monkeypatch):
    monkeypatch.delitem(to_onnx.FUNCTIONS, "Erfc")
    with pytest.raises(PresetError, match=r"cannot be translated to ONNX \(.*Erfc"):
        to_onnx.translate(QDNet.from_preset(tiny_preset))


@pytest.mark.usefixtures("tiny")
def test_the_command_tells_what_it_wrote(tiny_preset, tmp_path):
    out = tmp_path / "qdnet"
    command = ["export-onnx", "--preset", str(tiny_preset), "--out", str(out), "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    file = out / "1" / "model.onnx"
    assert record["file"] == str(file)
    assert (record["version"], record["bytes"]) == (1, file.stat().st_size)
