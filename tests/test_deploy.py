"""`deploy/`: the image, compose.yaml and the manifests for Kubernetes are well-formed, agree with each other, and say what the binary
understands. Nothing here needs Docker or a cluster; what a process is told there is told here to processes of this machine."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from contextlib import ExitStack

import kubernetes_validate
import psycopg
import pytest
import yaml

import deployment
from deployment import DEPLOY, KUBERNETES, compose, compose_containers, image, kustomization, manifests, mistakes, of_kind, subcommand
from frazil import PATIENCE, ROOT, binary, wait_until
from server import free_port

# The oldest version of Kubernetes that the manifests are for, and the newest whose schemas there are.
VERSIONS = ["1.31", kubernetes_validate.latest_version()]
COORDINATOR = {"app.kubernetes.io/name": "frazil", "app.kubernetes.io/component": "coordinator"}
WORKER = {"app.kubernetes.io/name": "frazil", "app.kubernetes.io/component": "worker"}
# Variables that every subcommand reads, and --help does not tell.
ALWAYS = {"FRAZIL_LOG"}
# Where each subcommand listens: the variable, and the name of the port in pods.
LISTENS = {
    "server": {"FRAZIL_PG": "pg", "FRAZIL_HTTP": "http"},
    "coordinator": {"FRAZIL_PG": "pg", "FRAZIL_HTTP": "http", "FRAZIL_LISTEN": "cluster"},
    "worker": {"FRAZIL_WORKER_LISTEN": "rows"},
}


def containers():
    found = list(compose_containers().values())
    for of_pod in deployment.pod_containers().values():
        found += of_pod
    return found


def by_name(items):
    return pytest.mark.parametrize("container", items, ids=lambda container: container.where)


def texts():
    """Every file in deploy/ that is read by people or programs."""
    return [path for path in sorted(DEPLOY.rglob("*")) if path.is_file() and path.suffix != ".json" and path.name not in (".env", "secret.yaml")]


def port_of(address):
    return int(address.rpartition(":")[2])


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, **options)


def tool(name):
    """A program of the Python environment."""
    return str(pathlib.Path(sys.executable).parent / name)


# ---- what the binary understands


@by_name(containers())
def test_every_command_line_is_understood(container):
    lines = container.frazil()
    assert lines, f"{container.where} runs {container.argv}"
    assert [mistake for line in lines for mistake in mistakes(line)] == []


def test_the_image_by_itself_is_a_server():
    assert image().entrypoint == ["tini", "--", "frazil"]
    assert mistakes(image().command) == [] and image().command[0] == "server"


@by_name(containers())
def test_every_variable_is_one_that_is_read(container):
    """By what the container runs. One that a pod's containers share may be for the other."""
    lines = list(container.frazil())
    for of_pod in deployment.pod_containers().values():
        if container in of_pod:
            lines += [line for other in of_pod for line in other.frazil()]
    known = ALWAYS | {name for line in lines for name in subcommand(line[0]).variables}
    if container.argv[0] == "frazil-first-user":
        needed = set(re.findall(r"\$\{(\w+):\?\}", deployment.FIRST_USER.read_text()))
        assert needed <= container.environment.keys()
        known |= needed
    assert {name for name in container.variables if name.startswith("FRAZIL_")} - known == set()


def test_every_name_in_texts_is_known():
    """FRAZIL_* variables, and options in command lines, wherever they are written."""
    known = ALWAYS | {"FRAZIL_USER", "FRAZIL_PASSWORD"}
    for name in deployment.subcommands():
        known |= subcommand(name).variables.keys()
    wrong = []
    line_of_command = re.compile(rf"\bfrazil(?::[\w.]+)? ({'|'.join(deployment.subcommands())})\b([^|`]*)")
    for path in texts():
        for number, text in enumerate(path.read_text().splitlines(), 1):
            here = f"{path.relative_to(ROOT)}:{number}"
            wrong += [f"{here}: {name}" for name in re.findall(r"\bFRAZIL_[A-Z_]+[A-Z]", text) if name not in known]
            for name, rest in line_of_command.findall(text):
                # Without what other commands in it take.
                options = re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", re.sub(r"\$\([^)]*\)", "", rest))
                wrong += [f"{here}: {name} {option}" for option in options if option not in subcommand(name).options]
    assert wrong == []


@by_name([container for container in containers() if "coordinator" in container.argv])
def test_every_setting_is_taken(container):
    """The binary itself reads what it is given, and says what it makes of it."""
    (line,) = container.frazil()
    environment = {name: value for name, value in container.environment.items() if name.startswith("FRAZIL_")}
    done = run(binary(), *line, "--print-config", env={"PATH": os.environ["PATH"], **environment})
    assert done.returncode == 0, done.stderr
    taken = tomllib.loads(done.stdout)
    variables = subcommand(line[0]).variables
    expected = {variables[name]: value for name, value in environment.items() if name in variables}
    assert expected.keys() >= {"warehouse", "pg", "http", "listen", "cluster-secret", "catalog"}
    # What only the binary may know is not printed.
    hidden = {name for name in expected if f"# {name} = (set, but not shown)" in done.stdout.splitlines()}
    assert hidden == {"cluster-secret", "catalog"}
    shown = {name: value for name, value in expected.items() if name not in hidden}
    assert {name: taken.get(name) for name in shown} == shown


# ---- the image


def test_the_dockerfile_is_without_reproach():
    done = run(tool("hadolint"), "--format", "json", str(DEPLOY / "Dockerfile"))
    assert (json.loads(done.stdout), done.returncode) == ([], 0), done.stderr


def ignored(path, patterns):
    """Whether a path is left out of the build: the last pattern that fits it or a folder above it decides."""
    result = False
    above = [path, *list(path.parents)[:-1]]
    for pattern in patterns:
        negated, pattern = pattern.startswith("!"), pattern.removeprefix("!")
        regex = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(regex, str(part)) for part in above):
            result = not negated
    return result


def patterns():
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """What a build of the image gets to see."""
    directory = tmp_path_factory.mktemp("context")
    for pattern in patterns():
        name = pattern.removeprefix("!")
        if not pattern.startswith("!"):
            continue
        source = ROOT / name
        assert source.exists(), f"{name} in Dockerfile.dockerignore does not exist"
        for path in [source] if source.is_file() else source.rglob("*"):
            relative = path.relative_to(ROOT)
            if path.is_file() and not ignored(relative, patterns()):
                (directory / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, directory / relative)
    return directory


def test_the_build_sees_all_sources_and_nothing_else(context):
    members = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["members"]
    sources = {path for member in members for path in (ROOT / member).rglob("*.rs")} | {ROOT / "Cargo.lock"}
    assert len(sources) > 100
    missing = [path for path in sources if not (context / path.relative_to(ROOT)).is_file()]
    assert missing == []
    assert not (context / ".git").exists() and not (context / "docs").exists()
    # Files that are compiled in.
    for path in context.rglob("*.rs"):
        text = path.read_text().split("#[cfg(test)]")[0]
        for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', text):
            assert (path.parent / name).is_file(), f"{path.relative_to(context)} includes {name}"
    # The toolchain is what the image has; here it is what the file names.
    shutil.copyfile(ROOT / "rust-toolchain.toml", context / "rust-toolchain.toml")
    done = run("cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version", "1", cwd=context)
    assert done.returncode == 0, done.stderr
    packages = {package["name"]: package for package in json.loads(done.stdout)["packages"]}
    (build,) = [value for name, value in image().instructions if name == "RUN" and "cargo build" in value]
    package, target = re.search(r"--package (\S+) --bin (\S+)", build).groups()
    assert target in [it["name"] for it in packages[package]["targets"] if "bin" in it["kind"]]
    assert "--release" in build and "--locked" in build


def test_what_the_image_copies_is_there(context):
    stages = [value.split(" AS ")[1] for name, value in image().instructions if name == "FROM" and " AS " in value]
    made = " ".join(value for name, value in image().instructions if name == "RUN")
    copied = [value.split() for name, value in image().instructions if name == "COPY"]
    assert len(copied) == 3
    for words in copied:
        options, (*sources, _) = [word for word in words if word.startswith("--")], [word for word in words if not word.startswith("--")]
        for source in sources:
            if stage := [option.removeprefix("--from=") for option in options if option.startswith("--from=")]:
                assert stage[0] in stages and source in made
            else:
                assert (context / source).exists(), f"{source} does not get into the build"


def test_versions_agree():
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]
    toolchain = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    (base,) = [value for name, value in image().instructions if name == "FROM" and value.startswith("rust:")]
    assert re.match(r"rust:([\d.]+)-", base).group(1) == toolchain
    assert ("ENV", f"RUSTUP_TOOLCHAIN={toolchain}") in image().instructions
    assert toolchain.startswith(workspace["rust-version"])
    tag = f"frazil:{workspace['version']}"
    assert {service["image"] for service in compose()["services"].values() if "frazil" in service["image"]} == {tag}
    assert [f"{it['name']}:{it['newTag']}" for it in kustomization()["images"]] == [tag]
    for path in texts():
        assert set(re.findall(r"\bfrazil:\d[\w.]*", path.read_text())) <= {tag}, path


def test_the_image_opens_the_ports_that_it_exposes():
    addresses = {name: value for name, value in image().variables.items() if name != "FRAZIL_WAREHOUSE"}
    assert addresses.keys() == {name for names in LISTENS.values() for name in names}
    assert {port_of(address) for address in addresses.values()} == image().exposed
    assert {address.rpartition(":")[0] for address in addresses.values()} == {"0.0.0.0"}
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", image().user)


# ---- compose


def test_compose_follows_its_specification():
    done = run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_and_its_settings_agree():
    used = set(re.findall(r"\$\{(\w+)", deployment.compose_text()))
    assert used == deployment.settings(DEPLOY / ".env.example").keys()
    ignored_files = (DEPLOY / ".gitignore").read_text().split()
    assert "/.env" in ignored_files and "/kubernetes/secret.yaml" in ignored_files


def test_no_password_stands_in_compose():
    """Each comes from .env, and there is no default."""
    needed = re.compile(r"\$\{\w+:\?[^}]+\}")
    for name, service in yaml.safe_load(deployment.compose_text())["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|ACCESS_KEY", variable):
                assert needed.fullmatch(value), f"{name}: {variable}"
            elif "://" in value and "@" in value:
                assert re.search(rf":{needed.pattern}@", value), f"{name}: {variable}"


def test_services_wait_for_what_they_need():
    services = compose()["services"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            check = services[other].get("healthcheck", {"disable": True})
            assert how["condition"] != "service_healthy" or not check.get("disable"), f"{name} waits for the health of {other}"
            ends = "restart" not in services[other]
            assert (how["condition"] == "service_completed_successfully") == ends, f"{name} waits for {other}"
    assert services["coordinator"]["depends_on"].keys() == {"catalog", "first-user"}
    assert services["first-user"]["depends_on"].keys() == {"catalog", "bucket"}


def test_addresses_in_compose_are_those_of_services():
    services = compose()["services"]
    hosts = set()
    for service in services.values():
        for value in [*service.get("environment", {}).values(), *service.get("command", [])]:
            hosts |= set(re.findall(r"(?:@|://|--coordinator )([a-z][a-z-]*):\d+", str(value)))
    assert hosts == {"catalog", "store", "coordinator"} and hosts <= services.keys()
    coordinator = compose_containers()["coordinator"].environment
    (line,) = compose_containers()["worker"].frazil()
    assert port_of(line[line.index("--coordinator") + 1]) == port_of(coordinator["FRAZIL_LISTEN"])
    assert port_of(line[line.index("--advertise") + 1]) == port_of(image().variables["FRAZIL_WORKER_LISTEN"])
    # Published to this machine only, and what is published is listened to.
    published = [port.split(":") for port in services["coordinator"]["ports"]]
    assert {address for address, _, _ in published} == {"127.0.0.1"}
    assert {int(port) for _, _, port in published} == {port_of(coordinator["FRAZIL_PG"]), port_of(coordinator["FRAZIL_HTTP"])}
    assert [name for name in services if "ports" in services[name]] == ["coordinator"]
    # A service that is scaled has neither a name nor a port of its own.
    assert not {"container_name", "ports", "hostname"} & services["worker"].keys()
    bucket = re.match(r"s3://([\w-]+)/", coordinator["FRAZIL_WAREHOUSE"]).group(1)
    assert services["bucket"]["command"][-1] == f"store/{bucket}"


def test_volumes_are_declared():
    used = {volume.split(":")[0] for service in compose()["services"].values() for volume in service.get("volumes", [])}
    assert used == compose()["volumes"].keys()


# ---- Kubernetes


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_follow_their_schemas(version):
    generated = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        for name, data in deployment.config_maps().items()
    ]
    for manifest in [*manifests(), deployment.secret(), *generated]:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            pytest.fail(f"{manifest['kind']} {manifest['metadata']['name']}: {error.path}: {error.message}")


def test_the_kustomization_names_every_manifest():
    known = {"apiVersion", "kind", "namespace", "resources", "configMapGenerator", "images"}
    assert kustomization().keys() == known
    apart = {"kustomization.yaml", "secret.example.yaml", "secret.yaml", "prometheus-adapter.yaml"}
    assert set(kustomization()["resources"]) == {path.name for path in KUBERNETES.glob("*.yaml")} - apart
    envs = {name for generator in kustomization()["configMapGenerator"] for name in generator["envs"]}
    assert envs == {path.name for path in KUBERNETES.glob("*.env")}
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests()]
    assert len(names) == len(set(names))
    assert kustomization()["namespace"] in of_kind("Namespace")
    assert deployment.secret()["metadata"]["namespace"] == kustomization()["namespace"]
    # The kustomization says where the image is: containers name it alone.
    for _, spec in deployment.pod_specs().values():
        assert {it["image"] for it in spec.get("initContainers", []) + spec["containers"]} == {"frazil"}


def test_workloads_select_their_own_pods():
    assert {name: labels for name, (labels, _) in deployment.pod_specs().items()} == {
        "frazil-coordinator": COORDINATOR,
        "frazil-worker": WORKER,
    }
    for name, workload in of_kind("Deployment").items():
        selector = workload["spec"]["selector"]["matchLabels"]
        assert [other for other, (labels, _) in deployment.pod_specs().items() if deployment.selects(selector, labels)] == [name]
        for spread in workload["spec"]["template"]["spec"]["topologySpreadConstraints"]:
            assert spread["labelSelector"]["matchLabels"] == selector


def ports(spec):
    return {port["name"]: port["containerPort"] for it in spec["containers"] for port in it.get("ports", [])}


def selected(selector):
    (found,) = [spec for labels, spec in deployment.pod_specs().values() if deployment.selects(selector, labels)]
    return found


def test_pods_listen_on_the_ports_that_they_name():
    for name, (_, spec) in deployment.pod_specs().items():
        container = deployment.pod_containers()[name][-1]
        (line,) = container.frazil()
        listens = {LISTENS[line[0]][variable]: port_of(container.environment[variable]) for variable in LISTENS[line[0]]}
        for argument in line:
            if argument.startswith("--listen="):
                listens[LISTENS["worker"]["FRAZIL_WORKER_LISTEN"]] = port_of(argument)
        assert ports(spec) == listens
        for it in spec["containers"]:
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                for probe in ("httpGet", "tcpSocket"):
                    port = it.get(kind, {}).get(probe, {}).get("port")
                    assert port is None or port in listens, f"{name}: {kind}"


def test_services_lead_to_ports_of_coordinators():
    found = {}
    for name, service in of_kind("Service").items():
        assert service["spec"]["selector"] == COORDINATOR
        # A service that publishes who is not ready would lead to the one that stands by.
        assert not service["spec"].get("publishNotReadyAddresses")
        (port,) = service["spec"]["ports"]
        assert port["port"] == ports(selected(service["spec"]["selector"]))[port["targetPort"]], name
        found[port["targetPort"]] = name
    assert found.keys() == {"pg", "http", "cluster"}


def test_workers_find_the_coordinator_and_each_other():
    (worker,) = deployment.pod_containers()["frazil-worker"]
    host, port = worker.environment["FRAZIL_COORDINATOR"].split(":")
    assert of_kind("Service")[host]["spec"]["ports"][0]["port"] == int(port)
    (line,) = worker.frazil()
    (advertised,) = [argument for argument in line if argument.startswith("--advertise=")]
    _, spec = deployment.pod_specs()["frazil-worker"]
    assert advertised == f"--advertise=127.0.0.1:{ports(spec)['rows']}"
    assert "--advertise=$(POD_IP):7434" in spec["containers"][0]["args"]
    slots, cpu = int(worker.environment["FRAZIL_SLOTS"]), float(spec["containers"][0]["resources"]["requests"]["cpu"])
    assert slots == cpu


def test_coordinators_can_be_replaced():
    """Only the one that leads is ready, so nothing may wait for the other one to be."""
    spec = of_kind("Deployment")["frazil-coordinator"]["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": "100%", "maxUnavailable": "100%"}
    (container,) = spec["template"]["spec"]["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/health" == container["startupProbe"]["httpGet"]["path"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    for budget in of_kind("PodDisruptionBudget").values():
        selector = budget["spec"]["selector"]["matchLabels"]
        assert not deployment.selects(selector, COORDINATOR), "it would keep the leader where it is for ever"


def test_workers_may_leave_in_peace():
    budget = of_kind("PodDisruptionBudget")["frazil-worker"]["spec"]
    assert budget["selector"]["matchLabels"] == WORKER and budget["maxUnavailable"] == 1
    for _, spec in deployment.pod_specs().values():
        # The default of 30 seconds can be too short for a checkpoint.
        assert spec["terminationGracePeriodSeconds"] >= 120
        assert not any("lifecycle" in it for it in spec["containers"])
    for name in ("coordinator", "worker"):
        assert compose()["services"][name]["stop_grace_period"] == "2m"


def test_the_autoscaler_follows_the_recommendation():
    (scaler,) = of_kind("HorizontalPodAutoscaler").values()
    target = scaler["spec"]["scaleTargetRef"]
    workload = of_kind(target["kind"])[target["name"]]
    assert target["apiVersion"] == workload["apiVersion"] and target["name"] == "frazil-worker"
    assert "replicas" not in workload["spec"], "whoever applies the manifest would undo what the autoscaler did"
    (metric,) = scaler["spec"]["metrics"]
    assert metric["type"] == "External" and metric["external"]["target"] == {"type": "AverageValue", "averageValue": "1"}
    (rule,) = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())["rules"]["external"]
    name = metric["external"]["metric"]["name"]
    assert rule["seriesQuery"].split("{")[0] == name
    assert re.search(rf"^\| `{name}` \| gauge \|", (ROOT / "docs" / "metrics.md").read_text(), re.M), f"no metric is named {name}"


def test_the_adapter_gives_one_number(tmp_path):
    """By Prometheus itself: the leader's, whatever the other one says, and nobody else's."""
    (rule,) = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())["rules"]["external"]
    name = rule["seriesQuery"].split("{")[0]
    (label,) = rule["resources"]["overrides"]
    query = rule["metricsQuery"].replace("<<.Series>>", name).replace("<<.LabelMatchers>>", f'{label}="frazil"')
    assert "<<" not in query
    series = {("frazil", "leads"): 3, ("frazil", "stands-by"): 0, ("other", "leads"): 9}
    case = {
        "interval": "1m",
        "input_series": [
            {"series": f'{name}{{{label}="{namespace}",pod="{pod}"}}', "values": str(value)} for (namespace, pod), value in series.items()
        ],
        "promql_expr_test": [{"expr": query, "eval_time": "0", "exp_samples": [{"labels": "{}", "value": 3}]}],
    }
    (tmp_path / "case.yml").write_text(yaml.safe_dump({"tests": [case]}))
    done = run("promtool", "test", "rules", str(tmp_path / "case.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_its_configuration(tmp_path):
    config = yaml.safe_load((KUBERNETES / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    # Debian's Prometheus is built without discovery in Kubernetes.
    (discovery,) = job.pop("kubernetes_sd_configs")
    assert discovery == {"role": "pod", "namespaces": {"names": [kustomization()["namespace"]]}}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    done = run("promtool", "check", "config", str(tmp_path / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    keep = job["relabel_configs"][0]
    meta = [label.removeprefix("__meta_kubernetes_pod_") for label in keep["source_labels"]]
    assert meta == ["label_app_kubernetes_io_name", "label_app_kubernetes_io_component", "container_port_name"]
    _, spec = deployment.pod_specs()["frazil-coordinator"]
    assert keep["regex"] == ";".join([*COORDINATOR.values(), "http"]) and "http" in ports(spec)


def test_only_members_reach_the_ports_of_the_cluster():
    open_to = {}
    for policy in of_kind("NetworkPolicy").values():
        assert policy["spec"]["policyTypes"] == ["Ingress"]
        selector = policy["spec"]["podSelector"]["matchLabels"]
        there = ports(selected(selector))
        for rule in policy["spec"]["ingress"]:
            sources = [source["podSelector"]["matchLabels"] for source in rule["from"]] if "from" in rule else None
            for port in rule["ports"]:
                assert port["protocol"] == "TCP"
                open_to[there[port["port"]]] = sources
    assert open_to == {5433: None, 8080: None, 7433: [WORKER], 7434: [WORKER]}
    covered = [policy["spec"]["podSelector"]["matchLabels"] for policy in of_kind("NetworkPolicy").values()]
    assert all(labels in covered for labels, _ in deployment.pod_specs().values())


def test_pods_may_do_as_little_as_possible():
    (account,) = of_kind("ServiceAccount")
    assert of_kind("Namespace")["frazil"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, (_, spec) in deployment.pod_specs().items():
        assert spec["serviceAccountName"] == account and spec["automountServiceAccountToken"] is False
        # Else every service puts FRAZIL_..._PORT and the like among the settings.
        assert spec["enableServiceLinks"] is False
        security = spec["securityContext"]
        assert security["runAsNonRoot"] and security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert f"{security['runAsUser']}:{security['runAsGroup']}" == image().user
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for it in spec.get("initContainers", []) + spec["containers"]:
            where = f"{name}/{it['name']}"
            assert it["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, where
            # Nothing else can be written to; statements spill into the directory for temporary files.
            (mount,) = it["volumeMounts"]
            assert mount["mountPath"] == "/tmp" and "emptyDir" in volumes[mount["name"]], where
            assert it["resources"]["requests"].keys() >= {"cpu", "memory"} and "memory" in it["resources"]["limits"], where


def test_secrets_come_from_the_secret():
    keys = deployment.secret()["stringData"].keys()
    used = set()
    for _, spec in deployment.pod_specs().values():
        for it in spec.get("initContainers", []) + spec["containers"]:
            for variable in it.get("env", []):
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                if reference:
                    assert reference["name"] == deployment.secret()["metadata"]["name"]
                    used.add(reference["key"])
    assert used == keys
    for of_pod in deployment.pod_containers().values():
        for container in of_pod:
            secret = {name for name in container.variables if re.search("PASSWORD|SECRET|ACCESS_KEY|CATALOG", name)}
            assert secret <= container.secret, container.where
    # Workers have no use for the catalog and for users.
    (worker,) = deployment.pod_containers()["frazil-worker"]
    assert worker.secret == {"FRAZIL_CLUSTER_SECRET", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


# ---- the processes themselves


class Cluster:
    """The processes of a deployment on this machine: what containers are told, at free ports, with a warehouse in a directory."""

    def __init__(self, directory, stack):
        self.directory, self.stack = directory, stack
        self.ports, self.second = ({port: free_port() for port in image().exposed} for _ in range(2))
        commands = directory / "bin"
        commands.mkdir()
        (commands / "frazil").symlink_to(pathlib.Path(binary()).resolve())
        (commands / "frazil-first-user").symlink_to(deployment.FIRST_USER)
        # A container has one address, this machine may have several.
        (commands / "hostname").write_text("#!/bin/sh\necho 127.0.0.1\n")
        (commands / "hostname").chmod(0o755)
        self.path = f"{commands}:{os.environ['PATH']}"

    def here(self, text, ports):
        """An address or command line of a container as one of this machine."""
        text = re.sub(r"\b(?:coordinator|frazil-cluster):(?=\d)", "127.0.0.1:", text)
        return re.sub(r":(\d{4})\b", lambda found: f":{ports.get(int(found.group(1)), found.group(1))}", text)

    def start(self, container, log, **variables):
        argv = container.argv[2:] if container.argv[:2] == ["tini", "--"] else container.argv
        # Each has its own ports, and all know the ports of the first coordinator.
        ports = {**self.ports, 7434: free_port()} if "worker" in log else self.second if "stands-by" in log else self.ports
        # The catalog and the store are not here.
        own = {name: value for name, value in container.environment.items() if not re.match("AWS_|FRAZIL_CATALOG", name)}
        environment = {name: self.here(value, ports) for name, value in own.items()}
        environment |= {"FRAZIL_WAREHOUSE": str(self.directory / "warehouse"), "PATH": self.path, **variables}
        output = self.stack.enter_context(open(self.directory / log, "wb"))
        command = [self.here(word, ports) for word in argv]
        executable = shutil.which(command[0], path=self.path)
        process = subprocess.Popen(command, executable=executable, env=environment, cwd=self.directory, stdout=output, stderr=output)
        self.stack.callback(lambda: process.poll() is None and (process.kill(), process.wait()))
        return process

    def says(self, log):
        return (self.directory / log).read_text()

    def get(self, path, ports=None):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{(ports or self.ports)[8080]}{path}", timeout=PATIENCE) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None


WAYS = {
    "compose": lambda: [compose_containers()[name] for name in ("first-user", "coordinator", "worker")],
    "kubernetes": lambda: deployment.pod_containers()["frazil-coordinator"] + deployment.pod_containers()["frazil-worker"],
}
NAME, PASSWORD = 'the "boss"', "it's \"%s\" $HOME \\ 'x'"


@pytest.mark.parametrize("way", WAYS)
def test_a_cluster_starts_and_ends_as_it_is_deployed(way, tmp_path):
    first_user, coordinator, worker = WAYS[way]()
    with ExitStack() as stack:
        cluster = Cluster(tmp_path, stack)

        def end(process, log):
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0, cluster.says(log)

        # This is why there has to be a first user.
        assert cluster.start(coordinator, "too-early.log").wait(PATIENCE) != 0
        assert "CREATE USER" in cluster.says("too-early.log")
        who = {"FIRST_USER": NAME, "FIRST_USER_PASSWORD": PASSWORD}
        # Both coordinators see to it, at the same time.
        both = [cluster.start(first_user, f"first-user-{number}.log", **who) for number in range(2)]
        assert [process.wait(PATIENCE) for process in both] == [0, 0], cluster.says("first-user-0.log") + cluster.says("first-user-1.log")

        leader = cluster.start(coordinator, "coordinator.log")
        wait_until(lambda: cluster.get("/ready") == 200 or leader.poll() is not None, "it is ready")
        assert leader.poll() is None, cluster.says("coordinator.log")
        # Health checks have no password.
        _, spec = deployment.pod_specs()["frazil-coordinator"]
        probes = {it["httpGet"]["path"] for name, it in spec["containers"][0].items() if name.endswith("Probe")}
        tested = json.dumps(compose()["services"]["coordinator"]["healthcheck"]["test"]) + image().healthcheck
        paths = probes | set(re.findall(r"http://127\.0\.0\.1:8080(/\w+)", tested))
        assert paths == {"/health", "/ready"}
        assert {path: cluster.get(path) for path in [*paths, "/metrics"]} == {"/health": 200, "/ready": 200, "/metrics": 401}

        # What services and probes rely on: one that stands by is alive and not ready.
        second = cluster.start(coordinator, "stands-by.log")
        wait_until(lambda: cluster.get("/health", cluster.second) == 200 or second.poll() is not None, "the second one lives")
        assert cluster.get("/ready", cluster.second) == 503, cluster.says("stands-by.log")

        workers = {log: cluster.start(worker, log) for log in ("worker-1.log", "worker-2.log")}
        for log in workers:
            wait_until(lambda: "joined" in cluster.says(log), f"{log} says that it joined")
        parameters = dict(host="127.0.0.1", port=cluster.ports[5433], dbname="frazil", user=NAME, password=PASSWORD)
        with psycopg.connect(**parameters, autocommit=True) as connection:
            connection.execute("CREATE TABLE t (k BIGINT, v BIGINT)")
            connection.execute("CREATE MATERIALIZED VIEW sums AS SELECT k, CAST(sum(v) AS BIGINT) AS total FROM t GROUP BY k")
            connection.execute("INSERT INTO t SELECT i % 100, i FROM generate_series(1, 1000) AS s(i)")
            connection.execute("FLUSH")
            expected = [(100, 500500)]
            count = "SELECT count(*), CAST(sum(total) AS BIGINT) FROM sums"
            assert connection.execute(count).fetchall() == expected
            # One worker is taken away while a job runs.
            end(workers["worker-1.log"], "worker-1.log")
            connection.execute("INSERT INTO t VALUES (7, 1)")
            connection.execute("FLUSH")
            assert connection.execute(count).fetchall() == [(100, 500501)]
        assert cluster.get("/ready", cluster.second) == 503
        end(leader, "coordinator.log")
        wait_until(lambda: cluster.get("/ready", cluster.second) == 200 or second.poll() is not None, "the second one leads")
        end(workers["worker-2.log"], "worker-2.log")
        end(second, "stands-by.log")

        # Started again, it makes no second first user.
        who["FIRST_USER"] = "somebody"
        assert cluster.start(first_user, "first-user-2.log", **who).wait(PATIENCE) == 0
        listed = run(binary(), "sql", "-w", str(tmp_path / "warehouse"), "--format", "csv", "-c", "SHOW USERS").stdout
        assert "somebody" not in listed and "boss" in listed, listed


def test_first_user_reports_failures(tmp_path):
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "FIRST_USER": "root", "FIRST_USER_PASSWORD": "x"}
    (tmp_path / "frazil").symlink_to(pathlib.Path(binary()).resolve())
    done = run(str(deployment.FIRST_USER), env={**variables, "FRAZIL_WAREHOUSE": "nowhere://x"})
    assert done.returncode != 0 and "error" in done.stderr
    done = run(str(deployment.FIRST_USER), env=variables)
    assert done.returncode != 0 and "FRAZIL_WAREHOUSE" in done.stderr
