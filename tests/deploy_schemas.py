"""JSON schemas of the fields that examples/deploy uses, with no others allowed: what is misspelt is refused.

The names are those of the Compose specification and of Kubernetes' API.
"""

from __future__ import annotations

from typing import Any

TEXT, NUMBER, FLAG = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
TEXTS = {"type": "array", "items": TEXT, "minItems": 1}
NAMES = {"type": "object", "additionalProperties": TEXT}


def closed(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """An object of these fields and no others: what is misspelt is refused."""
    known = {name: kind if isinstance(kind, dict) else {"const": kind} for name, kind in properties.items()}
    return {"type": "object", "properties": known, "required": list(required), "additionalProperties": False}


def listed(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1}


DURATION = {"type": "string", "pattern": r"^\d+(ms|s|m|h)$"}
# https://github.com/compose-spec/compose-spec/blob/main/schema/compose-spec.json
SERVICE = closed(
    ("image",),
    image=TEXT,
    build=closed(("context", "dockerfile"), context=TEXT, dockerfile=TEXT),
    environment=NAMES,
    command=TEXTS,
    restart={"enum": ["no", "always", "on-failure", "unless-stopped"]},
    init=FLAG,
    read_only=FLAG,
    cap_drop=TEXTS,
    security_opt=TEXTS,
    tmpfs=TEXTS,
    volumes=TEXTS,
    ports=TEXTS,
    profiles=TEXTS,
    shm_size={"type": "string", "pattern": r"^\d+(b|kb|mb|gb)$"},
    stop_grace_period=DURATION,
    deploy=closed(replicas=NUMBER),
    depends_on={
        "type": "object",
        "additionalProperties": closed(
            ("condition",),
            condition={"enum": ["service_started", "service_healthy", "service_completed_successfully"]},
        ),
    },
    healthcheck=closed(
        ("test",), test=TEXTS, interval=DURATION, timeout=DURATION, start_period=DURATION, retries=NUMBER
    ),
)
COMPOSE_SCHEMA = {
    **closed(
        ("services",),
        name={"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
        services={"type": "object", "additionalProperties": SERVICE},
        volumes={"type": "object", "additionalProperties": {"type": "object", "maxProperties": 0}},
    ),
    "patternProperties": {"^x-": {}},
}
# https://kubernetes.io/docs/reference/kubernetes-api/
METADATA = closed(("name",), name={"type": "string", "pattern": "^[a-z0-9-]{1,63}$"}, labels=NAMES, annotations=NAMES)
QUANTITIES = {
    "type": "object",
    "properties": {
        "cpu": {"type": "string", "pattern": r"^\d+m?$"}, "memory": {"type": "string", "pattern": r"^\d+(Mi|Gi)$"}
    },
    "additionalProperties": False,
}  # fmt: skip
PROBE = closed(
    ("httpGet",),
    httpGet=closed(("path", "port"), path=TEXT, port=TEXT),
    periodSeconds=NUMBER,
    timeoutSeconds=NUMBER,
    failureThreshold=NUMBER,
)
CONTAINER = closed(
    ("name", "image", "args", "resources"),
    name=TEXT,
    image={"type": "string", "pattern": ":[^:]+$"},
    args=TEXTS,
    envFrom=listed(closed(configMapRef=closed(("name",), name=TEXT), secretRef=closed(("name",), name=TEXT))),
    ports=listed(closed(("containerPort",), name=TEXT, containerPort=NUMBER)),
    startupProbe=PROBE,
    readinessProbe=PROBE,
    livenessProbe=PROBE,
    lifecycle=closed(preStop=closed(exec=closed(("command",), command=TEXTS))),
    resources=closed(("requests", "limits"), requests=QUANTITIES, limits=QUANTITIES),
    securityContext=closed(
        allowPrivilegeEscalation=False, readOnlyRootFilesystem=True, capabilities=closed(drop={"const": ["ALL"]})
    ),
    volumeMounts=listed(closed(("name", "mountPath"), name=TEXT, mountPath={"type": "string", "pattern": "^/"})),
)
POD = closed(
    ("metadata", "spec"),
    metadata=closed(("labels",), labels=NAMES, annotations=NAMES),
    spec=closed(
        ("containers",),
        restartPolicy="Never",
        terminationGracePeriodSeconds=NUMBER,
        automountServiceAccountToken=False,
        securityContext=closed(
            ("runAsNonRoot",),
            runAsNonRoot=True,
            runAsUser=NUMBER,
            runAsGroup=NUMBER,
            fsGroup=NUMBER,
            seccompProfile=closed(type="RuntimeDefault"),
        ),
        containers=listed(CONTAINER),
        volumes=listed(closed(("name", "emptyDir"), name=TEXT, emptyDir=closed(sizeLimit=TEXT))),
    ),
)
SELECTOR = closed(("matchLabels",), matchLabels=NAMES)
SHARE = {"anyOf": [NUMBER, {"type": "string", "pattern": r"^\d+%$"}]}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "ConfigMap": ("v1", {"data": NAMES}),
    "Secret": ("v1", {"type": {"const": "Opaque"}, "stringData": NAMES}),
    "Deployment": (
        "apps/v1",
        {
            "spec": closed(
                ("selector", "template"),
                replicas=NUMBER,
                selector=SELECTOR,
                strategy=closed(type="RollingUpdate", rollingUpdate=closed(maxUnavailable=SHARE, maxSurge=SHARE)),
                template=POD,
            )
        },
    ),
    "Service": (
        "v1",
        {
            "spec": closed(
                ("selector", "ports"),
                selector=NAMES,
                ports=listed(closed(("port",), name=TEXT, port=NUMBER, targetPort=TEXT)),
            )
        },
    ),
    "PodDisruptionBudget": (
        "policy/v1",
        {"spec": closed(("selector",), minAvailable=SHARE, maxUnavailable=SHARE, selector=SELECTOR)},
    ),
    "CronJob": (
        "batch/v1",
        {
            "spec": closed(
                ("schedule", "jobTemplate"),
                schedule={"type": "string", "pattern": r"^(\S+ ){4}\S+$"},
                concurrencyPolicy={"enum": ["Allow", "Forbid", "Replace"]},
                startingDeadlineSeconds=NUMBER,
                successfulJobsHistoryLimit=NUMBER,
                failedJobsHistoryLimit=NUMBER,
                jobTemplate=closed(
                    ("spec",),
                    spec=closed(("template",), backoffLimit=NUMBER, activeDeadlineSeconds=NUMBER, template=POD),
                ),
            )
        },
    ),
}
