"""The Kubernetes example: valid objects, commands that exist, and nothing that runs as root."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.__main__ import _parser as api
from sampler.__main__ import _parser as sampler
from storage.__main__ import _parser as store
from storage.config.settings import Settings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
OBJECTS = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
#: Kind → the version of the API that has it, of Kubernetes 1.27 or newer (a CronJob's time zone).
VERSIONS = {
    "ConfigMap": "v1", "Service": "v1", "StatefulSet": "apps/v1", "Deployment": "apps/v1",
    "CronJob": "batch/v1",
}  # fmt: skip
PROGRAMS = {"flow-api": api, "flow-sampler": sampler, "flow-store": store}


def pods() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each object that makes pods, with its pods' specification."""
    for thing in OBJECTS:
        spec = thing.get("spec", {})
        job = spec.get("jobTemplate", {}).get("spec", {})
        if template := spec.get("template") or job.get("template"):
            yield thing, template


def containers() -> Iterator[dict[str, Any]]:
    for _, template in pods():
        yield from template["spec"].get("initContainers", [])
        yield from template["spec"]["containers"]


def test_objects_are_of_known_kinds() -> None:
    """Each has its kind's version and a name of its own."""
    assert [(o["kind"], o["apiVersion"]) for o in OBJECTS] == [
        (o["kind"], VERSIONS[o["kind"]]) for o in OBJECTS
    ]
    names = [(o["kind"], o["metadata"]["name"]) for o in OBJECTS]
    assert len(set(names)) == len(names)
    assert {kind for kind, _ in names} == set(VERSIONS)


def test_selectors_find_their_pods() -> None:
    """Labels agree, and the service leads to the API's port alone."""
    labels = []
    for thing, template in pods():
        labels.append(template["metadata"]["labels"])
        if thing["kind"] != "CronJob":
            assert thing["spec"]["selector"]["matchLabels"] == labels[-1]
    assert len({tuple(sorted(label.items())) for label in labels}) == len(labels)
    (service,) = [o for o in OBJECTS if o["kind"] == "Service"]
    served = [t for _, t in pods() if t["metadata"]["labels"] == service["spec"]["selector"]]
    assert len(served) == 1
    ports = {p["name"] for c in served[0]["spec"]["containers"] for p in c["ports"]}
    assert {p["targetPort"] for p in service["spec"]["ports"]} <= ports


@pytest.mark.parametrize("container", list(containers()), ids=lambda c: c["name"])
def test_a_container(container: dict[str, Any]) -> None:
    """It cannot change its image or gain rights; its command exists; its secrets are references."""
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    program, *words = container["command"]
    if program not in PROGRAMS:
        assert program == "cp"
        return
    PROGRAMS[program]().parse_args(words)
    values = {e["name"]: e.get("value") for e in container["env"]}
    assert values["FLOW_DATABASE_URL"] is None
    assert values["FLOW_REDIS_URL"] is None
    config = next(o["data"] for o in OBJECTS if o["kind"] == "ConfigMap")
    Settings.read(config | {k: v for k, v in values.items() if v is not None})


def test_pods_are_a_plain_users() -> None:
    """The user is the image's, by number, and every mount has its volume."""
    (uid,) = set(re.findall(r"--uid (\d+)", (DEPLOY / "Dockerfile").read_text()))
    for thing, template in pods():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == int(uid)
        claims = thing["spec"].get("volumeClaimTemplates", [])
        volumes = {v["name"] for v in spec.get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in claims}
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            assert {m["name"] for m in container.get("volumeMounts", [])} <= volumes


def test_a_spool_outlives_its_pod() -> None:
    """Two samplers share the work by leases; each keeps its spool on a claim of its own."""
    (samplers,) = [o for o in OBJECTS if o["kind"] == "StatefulSet"]
    assert samplers["spec"]["replicas"] == 2
    (claim,) = samplers["spec"]["volumeClaimTemplates"]
    (container,) = samplers["spec"]["template"]["spec"]["containers"]
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    spool = next(e["value"] for e in container["env"] if e["name"] == "FLOW_SPOOL_DIR")
    assert mounts[claim["metadata"]["name"]] == spool
