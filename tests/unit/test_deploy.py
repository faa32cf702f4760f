"""What is given to deploy with says what the program knows: settings, commands, paths, and how long an end takes.

It is held to schemas of the fields that it uses (the Compose specification's and Kubernetes' own names), and not run.
"""

from __future__ import annotations

import itertools
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click import Group
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from longtake.cli import main
from longtake.probes import Probes
from longtake.serving import ANSWER_SECONDS
from longtake.settings import PREFIX, Settings, load
from longtake.store.bucket import ENDPOINTS, PATH_STYLE
from longtake.wire.documents import documents
from tests.deploy_schemas import COMPOSE_SCHEMA, KINDS, METADATA, closed

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "examples" / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
MANIFESTS = [
    one for path in sorted(DEPLOY.glob("kubernetes/*.yaml")) for one in yaml.safe_load_all(path.read_text())
]  # fmt: skip
KNOWN_TO_AWS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", *ENDPOINTS, PATH_STYLE}
FRONT_PORT, WORKER_PORT = 8000, 9000


def check(value: object, schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)
    found = [f"{'.'.join(map(str, error.path))}: {error.message}" for error in Draft202012Validator(schema).iter_errors(value)]  # noqa: E501  # fmt: skip
    assert not found, "\n".join(found)


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [one for one in MANIFESTS if one["kind"] == kind]


def pods() -> Iterator[dict[str, Any]]:
    for one in of_kind("Deployment"):
        yield one["spec"]["template"]
    for one in of_kind("CronJob"):
        yield one["spec"]["jobTemplate"]["spec"]["template"]


def containers() -> Iterator[dict[str, Any]]:
    for pod in pods():
        yield from pod["spec"]["containers"]


def environment() -> dict[str, str]:
    """What the containers are given, by the manifests that their names refer to."""
    return {**of_kind("ConfigMap")[0]["data"], **of_kind("Secret")[0]["stringData"]}


def seconds(text: str) -> int:
    assert text.endswith("s")
    return int(text[:-1])


def parsed(args: list[str]) -> str:
    """The command's name; fails where the command line is refused."""
    assert isinstance(main, Group)
    main.commands[args[0]].make_context(args[0], list(args[1:]))
    return args[0]


@pytest.mark.parametrize("path", [*FILES, ROOT / "docs" / "operations.md"], ids=lambda path: path.name)
def test_every_variable_that_a_file_names_is_a_setting(path: Path) -> None:
    text = path.read_text()
    settings = {PREFIX + name.upper() for name in Settings.model_fields}
    assert set(re.findall(r"\bLONGTAKE_[A-Z_]+\b", text)) <= settings
    assert set(re.findall(r"\bAWS_[A-Z0-9_]+\b", text)) <= KNOWN_TO_AWS


def test_the_compose_file_fits_its_schema() -> None:
    check(COMPOSE, COMPOSE_SCHEMA)


def test_what_the_compose_file_refers_to_is_there() -> None:
    services, named = COMPOSE["services"], set(COMPOSE["volumes"])
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in named or source.startswith("/") or (DEPLOY / source).is_file()
        if build := service.get("build"):
            assert (DEPLOY / build["context"]).resolve() == ROOT
            assert (ROOT / build["dockerfile"]).is_file()
    upstream = set(re.findall(r"server ([\w-]+):(\d+)", (DEPLOY / "nginx.conf").read_text()))
    assert upstream == {(name, str(FRONT_PORT)) for name in services if name.startswith("front")}


def test_the_settings_in_the_compose_file_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in COMPOSE["services"]["worker"]["environment"].items():
        given = re.sub(
            r"\$\{\w+(?::[?-]([^}]*))?\}", lambda found: found[1] or "a-word-of-32-characters-for-tests", value
        )
        monkeypatch.setenv(name, given)
    settings = load()
    assert settings.metrics_port == WORKER_PORT
    assert settings.store_url == "s3://longtake/objects"


def test_the_commands_of_all_containers_are_taken() -> None:
    ours = [service for service in COMPOSE["services"].values() if service["image"] == "longtake"]
    assert {parsed(one["command"]) for one in ours} == {"serve", "worker", "gc"}
    assert {parsed(one["args"]) for one in containers()} == {"serve", "worker", "gc"}


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_a_manifest_fits_the_schema_of_its_kind(manifest: dict[str, Any]) -> None:
    version, own = KINDS[manifest["kind"]]
    fields = {"apiVersion": version, "kind": manifest["kind"], "metadata": METADATA, **own}
    check(manifest, closed(tuple(fields), **fields))


def test_selectors_choose_the_pods_that_they_are_meant_for() -> None:
    labels = [pod["metadata"]["labels"] for pod in pods()]
    chosen: dict[str, list[str]] = {}
    for one in (*of_kind("Deployment"), *of_kind("PodDisruptionBudget"), *of_kind("Service")):
        selector = one["spec"]["selector"]
        wanted = selector if one["kind"] == "Service" else selector["matchLabels"]
        found = [each["app.kubernetes.io/component"] for each in labels if wanted.items() <= each.items()]
        assert len(found) == 1, one["metadata"]["name"]
        chosen.setdefault(one["kind"], []).extend(found)
    assert chosen["Deployment"] == chosen["PodDisruptionBudget"] == ["front", "worker-motion"]
    assert chosen["Service"] == ["front"]


def test_probes_ports_and_volumes_are_those_of_the_container() -> None:
    for pod in pods():
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        for container in pod["spec"]["containers"]:
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            probes = [probe["httpGet"] for name, probe in container.items() if name.endswith("Probe")]
            assert {probe["port"] for probe in probes} <= set(ports)
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            if ports:
                assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(*ports.values())
    by_command = {one["args"][0]: [port["containerPort"] for port in one.get("ports", [])] for one in containers()}
    assert by_command == {"serve": [FRONT_PORT], "worker": [WORKER_PORT], "gc": []}
    assert Settings.model_fields["port"].default == FRONT_PORT
    assert environment()["LONGTAKE_METRICS_PORT"] == str(WORKER_PORT)
    assert [port["targetPort"] for port in of_kind("Service")[0]["spec"]["ports"]] == ["http"]


def test_a_front_and_a_worker_answer_what_probes_ask() -> None:
    asked: dict[str, set[str]] = {"serve": set(), "worker": set(), "gc": set()}
    for container in containers():
        probes = (probe for name, probe in container.items() if name.endswith("Probe"))
        asked[container["args"][0]] |= {probe["httpGet"]["path"] for probe in probes}
    for service in COMPOSE["services"].values():
        test = " ".join(service.get("healthcheck", {}).get("test", []))
        for port, path in re.findall(r"127\.0\.0\.1:(\d+)(/\w+)", test):
            asked["serve" if int(port) == FRONT_PORT else "worker"].add(path)
    paths = set(itertools.chain.from_iterable(json.loads(text)["paths"] for text in documents().values()))
    assert asked["serve"]
    assert asked["serve"] <= paths
    probes_of_worker = Probes("127.0.0.1", 0, lambda: None)
    try:
        for path in asked["worker"]:
            with urllib.request.urlopen(f"http://127.0.0.1:{probes_of_worker.port}{path}", timeout=10) as answer:
                assert answer.status == 200
    finally:
        probes_of_worker.close()
    assert asked == {"serve": {"/healthz", "/readyz"}, "worker": {"/healthz", "/readyz"}, "gc": set()}


def test_nobody_is_killed_before_its_end_is_due() -> None:
    drain = float(environment()["LONGTAKE_DRAIN_SECONDS"])
    for pod in pods():
        (container,) = pod["spec"]["containers"]
        grace = pod["spec"].get("terminationGracePeriodSeconds", 30)
        if container["args"][0] == "serve":
            (_, pause) = container["lifecycle"]["preStop"]["exec"]["command"]
            assert grace >= int(pause) + ANSWER_SECONDS + 5
        elif container["args"][0] == "worker":
            assert grace >= drain + 10
    services = COMPOSE["services"]
    assert seconds(services["front-1"]["stop_grace_period"]) >= ANSWER_SECONDS + 5
    worker = services["worker"]
    assert seconds(worker["stop_grace_period"]) >= float(worker["environment"]["LONGTAKE_DRAIN_SECONDS"]) + 10


def test_the_lifecycle_of_the_bucket_ends_uploads_that_were_broken_off() -> None:
    rules = json.loads((DEPLOY / "bucket-lifecycle.json").read_text())["Rules"]
    for rule in rules:
        assert rule["Status"] == "Enabled"
        assert "Days" not in rule.get("Expiration", {}), "objects that are needed would be removed"
    assert [rule["AbortIncompleteMultipartUpload"] for rule in rules if "AbortIncompleteMultipartUpload" in rule] == [
        {"DaysAfterInitiation": 1}
    ]


def test_the_image_is_built_from_the_lock_and_runs_as_nobody_of_note() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert "--require-hashes -r requirements/run.lock" in text
    assert "index" not in text
    user = re.search(r"^USER (\d+):(\d+)$", text, re.MULTILINE)
    assert user
    for pod in pods():
        assert str(pod["spec"]["securityContext"]["runAsUser"]) == user[1]
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for source in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists()
            assert f"!{name}" in kept
