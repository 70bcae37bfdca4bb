"""The deployment files: strict YAML, known fields, versions as in constraints.txt, commands that compose. Nothing is deployed."""

import copy
import functools
import importlib.util
import json
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from stillhouse.cluster.config.compose import Resolved, compose
from support.static_checks import ROOT, packages

DEPLOY = ROOT / "cluster" / "deploy"
DOCS = ROOT / "docs" / "cluster.md"
FILES = sorted(f for f in DEPLOY.iterdir() if f.is_file())
MANIFESTS = sorted(set(DEPLOY.glob("*.yaml")) - {DEPLOY / "ray-cluster.yaml"})
SHARED = "/mnt/stillhouse"
PART_OF = {"app.kubernetes.io/part-of": "stillhouse"}

# A field's form: a type; a dictionary of fields ("!" marks a required one); a list of one form; MAP for free texts; ANY.
MAP, ANY = "map", "any"
METADATA = {"name": str, "namespace": str, "labels": MAP}
RESOURCES = {"requests!": MAP, "limits": MAP}
POD_SECURITY = {
    "runAsNonRoot!": bool,
    "runAsUser": int,
    "runAsGroup": int,
    "fsGroup": int,
    "fsGroupChangePolicy": str,
    "seccompProfile!": {"type!": str},
}
CONTAINER = {
    "name!": str,
    "image!": str,
    "command": [str],
    "securityContext!": {"allowPrivilegeEscalation!": bool, "capabilities!": {"drop!": [str]}},
    "ports": [{"name!": str, "containerPort!": int}],
    "resources!": RESOURCES,
    "volumeMounts": [{"name!": str, "mountPath!": str}],
}
POD = {
    "restartPolicy": str,
    "activeDeadlineSeconds": int,
    "automountServiceAccountToken!": bool,
    "securityContext!": POD_SECURITY,
    "nodeSelector": MAP,
    "tolerations": [{"key!": str, "operator!": str, "effect!": str}],
    "containers!": [CONTAINER],
    "volumes": [{"name!": str, "persistentVolumeClaim!": {"claimName!": str}}],
}
TEMPLATE = {"metadata!": {"labels!": MAP}, "spec!": POD}
# KubeRay 1.6.2, "CRD API reference": every field of the type that these files could sensibly use.
HEAD_GROUP = {
    "template!": TEMPLATE,
    "headService": ANY,
    "enableIngress": bool,
    "resources": MAP,
    "labels": MAP,
    "rayStartParams!": MAP,
    "serviceType": str,
}
WORKER_GROUP = {
    "groupName!": str,
    "replicas!": int,
    "minReplicas!": int,
    "maxReplicas!": int,
    "idleTimeoutSeconds": int,
    "resources": MAP,
    "labels": MAP,
    "rayStartParams!": MAP,
    "template!": TEMPLATE,
    "numOfHosts": int,
}
CLUSTER = {
    "upgradeStrategy": {"type": str},
    "authOptions!": {"mode!": str, "secretName": str, "enableK8sTokenAuth": bool},
    "suspend": bool,
    "managedBy": str,
    "autoscalerOptions": ANY,
    "headServiceAnnotations": MAP,
    "enableInTreeAutoscaling": bool,
    "gcsFaultToleranceOptions": ANY,
    "headGroupSpec!": HEAD_GROUP,
    "rayVersion!": str,
    "workerGroupSpecs!": [WORKER_GROUP],
}
JOB = {
    "activeDeadlineSeconds": int,
    "backoffLimit": int,
    "rayClusterSpec!": CLUSTER,
    "submitterPodTemplate": TEMPLATE,
    "metadata": MAP,
    "submitterConfig": {"backoffLimit": int},
    "entrypoint!": str,
    "runtimeEnvYAML": str,
    "jobId": str,
    "submissionMode": str,
    "entrypointResources": str,
    "entrypointNumCpus": float,
    "entrypointNumGpus": float,
    "ttlSecondsAfterFinished": int,
    "preRunningDeadlineSeconds": int,
    "shutdownAfterJobFinishes": bool,
    "suspend": bool,
}
PEERS = [{"podSelector": {"matchLabels!": MAP}, "namespaceSelector": {"matchLabels!": MAP}}]
PORTS = [{"protocol!": str, "port!": int}]
POLICY = {
    "podSelector!": {"matchLabels": MAP},
    "policyTypes!": [str],
    "ingress": [{"from!": PEERS, "ports": PORTS}],
    "egress": [{"to!": PEERS, "ports": PORTS}],
}
CLAIM = {"accessModes!": [str], "storageClassName": str, "resources!": {"requests!": MAP}}
KINDS: dict[tuple[str, str], Any] = {
    ("ray.io/v1", "RayCluster"): CLUSTER,
    ("ray.io/v1", "RayJob"): JOB,
    ("networking.k8s.io/v1", "NetworkPolicy"): POLICY,
    ("v1", "PersistentVolumeClaim"): CLAIM,
    ("v1", "Pod"): POD,
    ("v1", "Namespace"): None,
}


class StrictLoader(yaml.SafeLoader):
    """YAML in which a key may stand once only."""


def _mapping(loader: StrictLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise yaml.YAMLError(f"{sorted(twice)} stand twice{node.start_mark}")
    return yaml.SafeLoader.construct_mapping(loader, node, deep=deep)


StrictLoader.add_constructor("tag:yaml.org,2002:map", lambda loader, node: _mapping(loader, node, deep=True))


def documents(text: str) -> list[Any]:
    return list(yaml.load_all(text, Loader=StrictLoader))


@functools.cache
def all_documents() -> list[dict[str, Any]]:
    return [d for file in MANIFESTS for d in documents(file.read_text())]


def manifests(kind: str) -> list[dict[str, Any]]:
    return [d for d in all_documents() if d["kind"] == kind]


def ray_clusters() -> list[dict[str, Any]]:
    return [d["spec"] for d in manifests("RayCluster")] + [d["spec"]["rayClusterSpec"] for d in manifests("RayJob")]


def ray_templates(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def problems(value: Any, form: Any, where: str) -> list[str]:
    """Return what in a value does not have the form."""
    if form == ANY:
        return []
    if form == MAP:
        texts = isinstance(value, dict) and all(isinstance(x, str) for pair in value.items() for x in pair)
        return [] if texts else [f"{where}: not a mapping of texts"]
    if isinstance(form, type):
        return [] if type(value) is form else [f"{where}: {value!r} is not of type {form.__name__}"]
    if isinstance(form, list):
        if not isinstance(value, list):
            return [f"{where}: not a list"]
        return [p for i, each in enumerate(value) for p in problems(each, form[0], f"{where}[{i}]")]
    if not isinstance(value, dict):
        return [f"{where}: not a mapping"]
    known = {name.rstrip("!"): inner for name, inner in form.items()}
    found = [f"{where}.{key}: unknown" for key in value if key not in known]
    found += [f"{where}.{n[:-1]}: missing" for n in form if n.endswith("!") and n[:-1] not in value]
    return found + [
        p for key, inner in value.items() if key in known for p in problems(inner, known[key], f"{where}.{key}")
    ]


def pinned(name: str) -> str:
    found = re.search(rf"^{re.escape(name)}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert found, name
    return found[1]


def commands(text: str) -> list[list[str]]:
    """Return the overrides of each `stillhouse run` in a text; the shell's variables get a value."""
    joined = re.sub(r"\\\n[ \t#]*", " ", text)
    values = {"SHARED": SHARED, "address": "10.0.0.1:20001", "workers": "2"}
    found = []
    for rest in re.findall(r"stillhouse run([^`\n]*)", joined):
        filled = re.sub(r"\$(\w+)", lambda name: values[name[1]], rest.replace('"$@"', ""))
        words = shlex.split(filled, comments=True)
        if words:
            found.append(words)
    return found


@functools.cache
def composed(*words: str) -> Resolved:
    return compose(words)


def all_commands() -> list[tuple[str, list[str]]]:
    found = [(f.name, c) for f in (*FILES, DOCS) if f.name != "kuberay-job.yaml" for c in commands(f.read_text())]
    return found + [("kuberay-job.yaml", c) for d in manifests("RayJob") for c in commands(d["spec"]["entrypoint"])]


def test_a_key_that_stands_twice_is_found() -> None:
    with pytest.raises(yaml.YAMLError, match="stand twice"):
        documents("a: {b: 1, c: 2, b: 3}")


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda f: f.stem)
def test_manifests_hold_known_kinds_and_fields(file: Path) -> None:
    for document in documents(file.read_text()):
        found = problems(
            {**document, "spec": None}, {"apiVersion!": str, "kind!": str, "metadata!": METADATA, "spec": ANY}, ""
        )
        form = KINDS[document["apiVersion"], document["kind"]]
        found += problems(document["spec"], form, document["kind"]) if form else []
        assert found == []
        owner = document["metadata"] if document["kind"] != "Namespace" else {"namespace": document["metadata"]["name"]}
        assert owner["namespace"] == "stillhouse"


def test_the_check_of_fields_finds_mistakes() -> None:
    spec = copy.deepcopy(manifests("RayCluster")[0]["spec"])
    spec["workerGroupSpec"] = spec.pop("workerGroupSpecs")
    spec["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0  # KubeRay wants texts.
    del spec["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
    assert problems(spec, CLUSTER, "spec") == [
        "spec.workerGroupSpec: unknown",
        "spec.workerGroupSpecs: missing",
        "spec.headGroupSpec.rayStartParams: not a mapping of texts",
        "spec.headGroupSpec.template.spec.containers[0].image: missing",
    ]


def test_both_ray_kinds_are_there_and_ask_for_a_token() -> None:
    assert [d["kind"] for kind in ("RayCluster", "RayJob") for d in manifests(kind)] == ["RayCluster", "RayJob"]
    for cluster in ray_clusters():
        assert cluster["authOptions"] == {"mode": "token"}
        assert cluster["rayVersion"] == pinned("ray")
        assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
        assert [g["labels"]["pool"] for g in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])] == [
            "head",
            "gpu",
        ]


def test_the_job_asks_for_what_its_cluster_has() -> None:
    (job,) = manifests("RayJob")
    (words,) = commands(job["spec"]["entrypoint"])
    config = composed(*words).config
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert config.cluster.address == "auto" and config.cluster.use_gpu
    assert config.cluster.workers == group["minReplicas"] * int(limits["nvidia.com/gpu"])
    assert config.cluster.cpus_per_worker <= int(limits["cpu"])


def test_run_folders_are_on_storage_that_every_pod_mounts() -> None:
    claims = {d["metadata"]["name"]: d["spec"]["accessModes"] for d in manifests("PersistentVolumeClaim")}
    assert claims == {"stillhouse-shared": ["ReadWriteMany"], "stillhouse-ledger": ["ReadWriteOncePod"]}
    for cluster in ray_clusters():
        for template in ray_templates(cluster):
            volumes = {v["name"]: v["persistentVolumeClaim"]["claimName"] for v in template["spec"]["volumes"]}
            mounts = {m["mountPath"]: volumes[m["name"]] for m in template["spec"]["containers"][0]["volumeMounts"]}
            assert mounts[SHARED] == "stillhouse-shared" and set(mounts.values()) <= set(claims)
    for name, words in all_commands():
        root = composed(*words).config.root
        assert root.startswith(f"{SHARED}/"), (name, words)


def test_policies_select_the_pods_that_there_are() -> None:
    policies = {d["metadata"]["name"]: d["spec"] for d in manifests("NetworkPolicy")}
    assert policies["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert policies["ray-pods"]["podSelector"]["matchLabels"] == PART_OF
    assert policies["operator-to-head"]["podSelector"]["matchLabels"] == {**PART_OF, "ray.io/node-type": "head"}
    templates = [t for cluster in ray_clusters() for t in ray_templates(cluster)]
    templates += [d["spec"]["submitterPodTemplate"] for d in manifests("RayJob")]
    for template in templates:
        assert PART_OF.items() <= template["metadata"]["labels"].items()


def test_pods_have_no_rights_to_spare() -> None:
    pods = [t["spec"] for cluster in ray_clusters() for t in ray_templates(cluster)]
    pods += [d["spec"]["submitterPodTemplate"]["spec"] for d in manifests("RayJob")] + [
        d["spec"] for d in manifests("Pod")
    ]
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False and pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            rights = container["securityContext"]
            assert rights == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def launcher_files() -> dict[str, str]:
    quoted = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    return {"ray-cluster.yaml": (DEPLOY / "ray-cluster.yaml").read_text()} | {
        f"docs {i}": t for i, t in enumerate(quoted)
    }


@pytest.mark.parametrize("name", launcher_files())
def test_the_launchers_files_follow_rays_own_schema(name: str) -> None:
    ray = importlib.util.find_spec("ray")  # Found, not imported: that takes seconds.
    assert ray and ray.origin
    schema = json.loads((Path(ray.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    (config,) = documents(launcher_files()[name])
    jsonschema.validate(config, schema)


def test_the_launcher_starts_ray_with_a_token_and_a_closed_dashboard() -> None:
    (config,) = documents((DEPLOY / "ray-cluster.yaml").read_text())
    assert "/home/ray/.ray/auth_token" in config["file_mounts"]
    assert config["max_workers"] == len(config["provider"]["worker_ips"])
    starts = [c for who in ("head", "worker") for c in config[f"{who}_start_ray_commands"] if "ray start" in c]
    assert len(starts) == 2 and all(c.startswith("RAY_AUTH_MODE=token ray start ") for c in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0] and "--labels=pool=gpu" in starts[1]
    assert f"--volume={SHARED}:{SHARED}" in config["docker"]["run_options"]


def test_images_are_tagged_with_the_pinned_versions() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cuda = "".join(pinned("nvidia-cuda-runtime").split(".")[:2])
    tags = {f"{version}-ray{pinned('ray')}-py311-{kind}" for kind in ("cpu", f"cu{cuda}")}
    used = {f.name: set(re.findall(r"registry\.example\.org/stillhouse:(\S+)", f.read_text())) for f in (*FILES, DOCS)}
    assert set().union(*used.values()) == tags
    assert used["Dockerfile"] == used["cluster.md"] == tags
    assert all(used[n] for n in ("ray-cluster.yaml", "kuberay-cluster.yaml", "kuberay-job.yaml", "kuberay-files.yaml"))
    manifests_images = {c["image"] for x in ray_clusters() for t in ray_templates(x) for c in t["spec"]["containers"]}
    assert len(manifests_images) == 1, "Ray wants equal versions on all nodes"
    told = re.findall(r"(?<!Kube)Ray (\d+\.\d+\.\d+)", DOCS.read_text())
    assert told and set(told) == {pinned("ray")}


@pytest.mark.parametrize(("name", "words"), all_commands())
def test_every_command_composes(name: str, words: list[str]) -> None:
    assert composed(*words).method


def test_commands_were_found_in_every_place_that_has_one() -> None:
    names = [name for name, _ in all_commands()]
    counts = {name: names.count(name) for name in set(names)}
    assert counts == {"ray-cluster.yaml": 1, "slurm.sh": 1, "kuberay-job.yaml": 1, "cluster.md": 3}


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_every_file_opens_with_its_command_and_is_told_of(file: Path) -> None:
    lines = file.read_text().splitlines()
    first = lines[1] if lines[0].startswith("#!") else lines[0]
    named = "Dockerfile" if file.name.startswith("Dockerfile") else file.name
    assert first.startswith("# ") and f"cluster/deploy/{named}" in first
    assert f"`{named}`" in DOCS.read_text()


@pytest.mark.parametrize("file", [*FILES, DOCS], ids=lambda f: f.name)
def test_no_file_holds_a_secret(file: Path) -> None:
    text = file.read_text()
    assert not re.search(r"\b[0-9a-f]{32,}\b|-----BEGIN|^kind: Secret|://[^/\s]+:[^/\s]+@", text, re.MULTILINE)
    assert not re.search(r"RAY_AUTH_TOKEN[:=]\s*[\"']?[A-Za-z0-9]", text)


def test_the_slurm_script_parses_and_starts_ray_with_a_token() -> None:
    script = DEPLOY / "slurm.sh"
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    text = script.read_text()
    assert text.index("RAY_AUTH_MODE=token") < text.index("ray start --head")
    python = re.search(r"<<'PYTHON'\n(.*?)^PYTHON$", text, re.DOTALL | re.MULTILINE)
    assert python
    compile(python[1], "slurm.sh", "exec")


STAND_INS = {
    "scontrol": 'printf "node1\nnode2\nnode3\n"',
    "hostname": "echo 10.0.0.1 fe80::1",
    "srun": 'echo "srun $*" >>"$LOG"; while [[ $1 == -* ]]; do shift; done; exec "$@"',
    "ray": 'echo "ray $* mode=$RAY_AUTH_MODE" >>"$LOG"; [[ $1 == start ]] && exec sleep 60; exit 0',
    "python": "if [[ $1 == -c ]]; then echo a-token; else cat >/dev/null; sleep 3; fi",
    "stillhouse": 'stat -c "token %a" "$RAY_AUTH_TOKEN_PATH" >>"$LOG"; echo "stillhouse $*" >>"$LOG"; exit 6',
}


def test_the_slurm_script_runs_with_stand_ins_for_slurm_and_ray(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name, body in STAND_INS.items():
        stand_in = tmp_path / "bin" / name
        stand_in.write_text(f"#!/bin/bash\n{body}\n")
        stand_in.chmod(0o755)
    log = tmp_path / "log"
    own = {"HOME": tmp_path, "VENV": tmp_path, "LOG": log, "SLURM_JOB_ID": 123456, "SLURM_JOB_NODELIST": "node[1-3]"}
    own |= {"SLURM_CPUS_PER_TASK": 8, "SLURM_GPUS_ON_NODE": 2, "RAY_AUTH_TOKEN": "of another cluster"}
    environment = {**os.environ, **{name: str(value) for name, value in own.items()}}
    script = ["bash", str(DEPLOY / "slurm.sh"), "seed=1"]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 6, done.stderr  # The run's own exit code.
    lines = log.read_text().splitlines()
    (head,) = (x for x in lines if x.startswith("ray start --head"))
    (workers,) = (x for x in lines if x.startswith("srun") and "--nodelist=node2,node3" in x)
    (worker,) = (x for x in lines if x.startswith("ray start --address=10.0.0.1:23456"))
    assert "--node-ip-address=10.0.0.1 --port=23456" in head and "--nodes=2 --ntasks=2" in workers
    for line in (head, worker):
        assert "--num-cpus=8 --num-gpus=2 --labels=pool=gpu --block mode=token" in line
    assert "token 600" in lines
    run = next(x for x in lines if x.startswith("stillhouse run")).split()[2:]
    assert composed(*run).config.cluster.workers == 6 and composed(*run).config.seed == 1
    assert not list(tmp_path.glob(".stillhouse-*")), "the token is deleted"


INSTRUCTIONS = {"ARG", "CMD", "COPY", "ENV", "FROM", "RUN", "USER", "WORKDIR"}


def instructions() -> list[tuple[str, str]]:
    lines = [x for x in (DEPLOY / "Dockerfile").read_text().splitlines() if not x.startswith("#")]
    whole = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (x.partition(" ") for x in whole.splitlines() if x)]


def test_the_dockerfile_copies_all_that_the_package_is_made_of() -> None:
    found = instructions()
    assert {word for word, _ in found} == INSTRUCTIONS
    copies = [rest.split()[:-1] for word, rest in found if word == "COPY" and not rest.startswith("--from=wheel ")]
    sources = {source.rstrip("/") for each in copies for source in each}
    assert all((ROOT / source).exists() for source in sources)
    wanted = {package.parts[0] for package in packages() if package.parts} | {f.name for f in ROOT.glob("*.py")}
    assert sources == wanted | {"pyproject.toml", "README.md", "constraints.txt"}
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in ignore if line.startswith("!")} == sources
    assert "*" in ignore


def test_the_dockerfile_starts_from_the_tested_python_and_ends_closed() -> None:
    found = instructions()
    bases = [rest.split()[0] for word, rest in found if word == "FROM"]
    assert bases == ["python:3.11-slim-bookworm"] * 2
    assert [rest for word, rest in found if word == "USER"] == ["1000"]
    (environment,) = (shlex.split(rest) for word, rest in found if word == "ENV")
    assert "RAY_AUTH_MODE=token" in environment
    assert not any("NVIDIA_VISIBLE_DEVICES" in each for each in environment)


def test_the_files_are_not_part_of_the_package() -> None:
    assert Path("cluster/deploy") not in packages() and not list(DEPLOY.rglob("*.py"))
