"""What stands in `serving/` is valid, and its parts fit each other."""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow_serving.config import model_server_config_pb2

SERVING = Path(__file__).parents[1] / "serving"
CONFIG = SERVING / "config"
KUBERNETES = SERVING / "kubernetes"
MANIFESTS = sorted(
    path
    for path in KUBERNETES.rglob("*.yaml")
    if path.name not in ("kustomization.yaml", "prometheus-adapter.yaml")
    and not path.name.startswith("kserve")
)
# As Prometheus sees them, from the monitors in TF-Serving's and TensorFlow's source.
METRICS = {
    ":tensorflow:serving:request_count": {"model_name", "status"},
    ":tensorflow:serving:request_latency": {"model_name", "API", "entrypoint"},
    ":tensorflow:serving:runtime_latency": {"model_name", "API", "runtime"},
    ":tensorflow:serving:batching_session:queuing_latency": {"thread_pool_name"},
    ":tensorflow:cc:saved_model:load_attempt_count": {"model_path", "status"},
}
ADDED_LABELS = {"__name__", "job", "instance", "namespace", "pod", "le"}


def documents(path: Path) -> list[dict]:
    return list(yaml.safe_load_all(path.read_text()))


def of_kind(variant: str, kind: str) -> list[dict]:
    """Manifests of the base and a variant."""
    files = [path for path in MANIFESTS if path.parent.name in ("base", variant)]
    found = itertools.chain.from_iterable(map(documents, files))
    return [manifest for manifest in found if manifest["kind"] == kind]


# --- TF-Serving's configuration -------------------------------------------------------------------


def _message(name: str, fields: dict[str, tuple[str, bool]]) -> Any:
    """A message class, for files whose class is not in TF-Serving's Python package."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="p", syntax="proto3")
    value = file.message_type.add(name="Int64Value")
    value.field.add(name="value", number=1, label=1, type=3)
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, label=1, type=8)
    prometheus.field.add(name="path", number=2, label=1, type=9)
    message = file.message_type.add(name=name)
    for number, (field, (kind, repeated)) in enumerate(fields.items(), 1):
        added = message.field.add(name=field, number=number, label=3 if repeated else 1)
        if kind[0].isupper():
            added.type, added.type_name = 11, f".p.{kind}"
        else:
            added.type = {"int64": 3, "bool": 8}[kind]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"p.{name}"))


def test_models_config_labels_versions_that_it_lists():
    text = (CONFIG / "models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.model_platform) == ("qdnet", "tensorflow")
    assert set(model.version_labels) == {"stable", "canary"}
    versions = model.model_version_policy.specific.versions
    assert set(model.version_labels.values()) <= set(versions)


def test_batching_parameters_parse_and_never_pad():
    wrapped = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches")
    fields = dict.fromkeys((*wrapped, "num_batch_threads"), ("Int64Value", False))
    fields |= {
        "allowed_batch_sizes": ("int64", True),
        "pad_variable_length_inputs": ("bool", False),
    }
    parameters = _message("BatchingParameters", fields)()
    text_format.Parse((CONFIG / "batching.config").read_text(), parameters)
    assert not parameters.pad_variable_length_inputs
    assert 1 <= parameters.max_batch_size.value <= 32
    assert parameters.max_enqueued_batches.value > 0


def test_monitoring_is_served_where_prometheus_looks():
    config = _message("MonitoringConfig", {"prometheus_config": ("PrometheusConfig", False)})()
    text_format.Parse((CONFIG / "monitoring.config").read_text(), config)
    (job,) = yaml.safe_load((CONFIG / "prometheus.yml").read_text())["scrape_configs"]
    assert config.prometheus_config.enable
    assert config.prometheus_config.path == job["metrics_path"]
    (target,) = job["static_configs"][0]["targets"]
    host, port = target.split(":")
    service = compose()["services"]["serving-cpu"]
    assert host in service["networks"]["default"]["aliases"]
    assert any(mapping.endswith(f":{port}") for mapping in service["ports"])


# --- Compose --------------------------------------------------------------------------------------


def compose() -> dict:
    return yaml.safe_load((SERVING / "compose.yaml").read_text())


def test_compose_has_a_cpu_and_a_gpu_server_with_health_checks():
    services = compose()["services"]
    images = {name: service["image"] for name, service in services.items()}
    assert images["serving-cpu"] + "-gpu" == images["serving-gpu"]
    for name, image in images.items():
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+(-gpu)?", image), image
        assert services[name]["healthcheck"]["test"]
        assert services[name]["profiles"]
    (device,) = services["serving-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert services["serving-gpu"]["environment"]["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"


def test_what_compose_mounts_and_names_exists():
    services = compose()["services"]
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if not source.startswith((".", "$")):
                assert source in compose()["volumes"]
            assert not source.startswith(".") or (SERVING / source).exists(), source
    for name in re.findall(r"=/config/(\S+)", services["serving-cpu"]["command"]):
        assert (CONFIG / name).is_file()
    provider = yaml.safe_load((CONFIG / "grafana/dashboards.yaml").read_text())["providers"][0]
    assert any(provider["options"]["path"] in volume for volume in services["grafana"]["volumes"])


def test_a_server_hears_sigterm_and_everything_has_a_limit_of_memory():
    """TF-Serving has no handler for SIGTERM: as process 1, or behind a shell, it does not end."""
    services = compose()["services"]
    for variant in ("cpu", "gpu"):
        service = services[f"serving-{variant}"]
        assert service["init"] is True
        assert service["entrypoint"][0] == "tensorflow_model_server"
        assert service["platform"] == "linux/amd64"
        (pod,) = (d["spec"]["template"]["spec"] for d in of_kind(variant, "Deployment"))
        (container,) = pod["containers"]
        assert pod["shareProcessNamespace"] is True
        assert container["command"] == ["tensorflow_model_server"]
        assert pod["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
        pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
        (timeout,) = (a for a in container["args"] if a.startswith("--rest_api_timeout_in_ms="))
        assert int(timeout.partition("=")[2]) / 1000 < pause < pod["terminationGracePeriodSeconds"]
    assert all("mem_limit" in service for service in services.values())


def test_a_gpu_server_has_time_and_a_place_for_compiled_kernels():
    (deployment,) = of_kind("gpu", "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 30 * 60
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    places = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    mount = places[environment["CUDA_CACHE_PATH"]]
    assert not mount.get("readOnly")
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    claims = {claim["metadata"]["name"] for claim in of_kind("gpu", "PersistentVolumeClaim")}
    assert volumes[mount["name"]]["persistentVolumeClaim"]["claimName"] in claims
    assert "CUDA_CACHE_PATH" in compose()["services"]["serving-gpu"]["environment"]


def test_only_the_gateway_other_clients_and_prometheus_reach_the_servers():
    (policy,) = of_kind("cpu", "NetworkPolicy")
    (deployment,) = of_kind("cpu", "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["spec"]["egress"] == []
    clients, prometheus = policy["spec"]["ingress"]
    assert {port["port"] for port in prometheus["ports"]} == {8501}
    (selector,) = clients["from"]
    gateway, service = documents(KUBERNETES / "gateway/gateway.yaml")
    template = gateway["spec"]["template"]
    assert selector["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    upstreams = re.findall(r"server (\w+):(\d+);", (SERVING / "gateway/nginx.conf").read_text())
    names = {service["metadata"]["name"] for service in of_kind("cpu", "Service")}
    aliases = compose()["services"]["serving-cpu"]["networks"]["default"]["aliases"]
    for host, port in upstreams:
        assert host in names and host in aliases
        assert port in ("8500", "8501")


def test_kserve_serves_the_same_model_in_the_same_version():
    (service,) = documents(KUBERNETES / "kserve.yaml")
    assert (service["kind"], service["metadata"]["name"]) == ("InferenceService", "qdnet")
    model = service["spec"]["predictor"]["model"]
    assert model["modelFormat"] == {"name": "tensorflow"}
    image = compose()["services"]["serving-cpu"]["image"]
    assert image.endswith(f":{model['runtimeVersion']}")
    (claim,) = documents(KUBERNETES / "base/models.yaml")
    assert model["storageUri"] == f"pvc://{claim['metadata']['name']}/qdnet"


def test_kserve_serves_a_model_repository_by_protocol_v2():
    (service,) = documents(KUBERNETES / "kserve-triton.yaml")
    model = service["spec"]["predictor"]["model"]
    assert model["modelFormat"]["name"] == "triton"
    assert model["protocolVersion"] == "v2"
    (claim,) = documents(KUBERNETES / "base/models.yaml")
    repository = f"pvc://{claim['metadata']['name']}/triton"
    assert model["storageUri"] == repository
    assert "export-onnx --out triton/qdnet" in (SERVING / "README.md").read_text()


def test_the_health_check_asks_for_metadata():
    *_, script = compose()["services"]["serving-cpu"]["healthcheck"]["test"]
    assert r"GET /v1/models/qdnet/metadata HTTP/1.0\r\n\r\n" in script


# --- Kubernetes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_manifests_pass_the_schema(path):
    for manifest in documents(path):
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_the_schema_refuses_what_is_wrong():
    (deployment,) = documents(KUBERNETES / "cpu/deployment.yaml")
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = 2.20
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("variant", ["cpu", "gpu"])
def test_a_variant_is_complete_and_its_parts_find_each_other(variant):
    listed = set()
    for folder in ("base", variant):
        (kustomization,) = documents(KUBERNETES / folder / "kustomization.yaml")
        listed |= {KUBERNETES / folder / name for name in kustomization["resources"]}
    wanted = {path for path in MANIFESTS if path.parent.name in ("base", variant)}
    assert listed - {KUBERNETES / variant / "../base"} == wanted

    (deployment,) = of_kind(variant, "Deployment")
    template = deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert "replicas" not in deployment["spec"]  # or every apply would undo the autoscaler
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    services = of_kind(variant, "Service")
    assert len(services) == 2
    for service in services:
        assert service["spec"]["selector"].items() <= labels.items()
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    (budget,) = of_kind(variant, "PodDisruptionBudget")
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (scaler,) = of_kind(variant, "HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert scaler["spec"]["minReplicas"] > budget["spec"]["maxUnavailable"]
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    claims = {claim["metadata"]["name"] for claim in of_kind(variant, "PersistentVolumeClaim")}
    assert volumes["models"]["persistentVolumeClaim"]["claimName"] in claims
    (config,) = of_kind(variant, "ConfigMap")
    assert volumes["config"]["configMap"]["name"] == config["metadata"]["name"]


@pytest.mark.parametrize("variant", ["cpu", "gpu"])
def test_a_pod_is_ready_when_the_model_is_loaded(variant):
    (deployment,) = of_kind(variant, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": "/v1/models/qdnet/metadata", "port": "rest"}
    image = compose()["services"][f"serving-{variant}"]["image"]
    assert container["image"] == image
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (variant == "gpu")
    config = of_kind(variant, "ConfigMap")[0]["data"]
    for argument in container["args"]:
        if "=/config/" in argument:
            assert argument.split("/config/")[1] in config


def test_the_config_map_holds_the_configuration_as_it_is():
    (config,) = documents(KUBERNETES / "base/configmap.yaml")
    for name, text in config["data"].items():
        assert text == (CONFIG / name).read_text(), name


def test_the_gpu_autoscaler_uses_the_metric_that_the_adapter_makes():
    (scaler,) = of_kind("gpu", "HorizontalPodAutoscaler")
    (metric,) = scaler["spec"]["metrics"]
    (adapter,) = documents(KUBERNETES / "gpu/prometheus-adapter.yaml")
    (rule,) = adapter["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]


# --- Watching -------------------------------------------------------------------------------------


def dashboard() -> dict:
    return json.loads((CONFIG / "grafana/qdnet.json").read_text())


def expressions() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for group in yaml.safe_load((CONFIG / "alerts.yml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    (adapter,) = documents(KUBERNETES / "gpu/prometheus-adapter.yaml")
    for rule in adapter["rules"]["custom"]:
        yield from (rule["seriesQuery"], rule["metricsQuery"])


def test_queries_use_metrics_and_labels_that_tf_serving_has():
    for expression in expressions():
        assert expression.count("(") == expression.count(")"), expression
        for selector in re.findall(r"\{([^{}]*)\}", expression):
            labels = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', selector))
            (name,) = re.findall(r'__name__="([^"]+)"', selector) or ["up"]
            metric = re.sub(r"_(bucket|sum|count)$", "", name)
            known = METRICS.get(name, METRICS.get(metric, set()))
            assert name == "up" or known, name
            assert labels <= known | ADDED_LABELS, (name, labels)


def test_panels_do_not_overlap():
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        covered = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not covered & cells, panel["title"]
        cells |= covered
    datasource = yaml.safe_load((CONFIG / "grafana/datasource.yaml").read_text())["datasources"][0]
    assert {panel["datasource"]["uid"] for panel in panels} == {datasource["uid"]}
