"""What `deploy/` says: the image, the services of compose.yaml, the pods in kubernetes/, and which command lines of `frazil` they come to."""

import functools
import json
import re
import shlex
import subprocess
from dataclasses import dataclass, field

import yaml
from dockerfile_parse import DockerfileParser

from frazil import PATIENCE, ROOT, binary

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
FIRST_USER = DEPLOY / "first-user.sh"
# A command in a shell script: at its beginning, behind a pipe or the like, after exec, in a substitution.
IN_SCRIPT = re.compile(r"(?:^|[|&;(]|\bexec )\s*frazil ((?:[^|&;()\n\"]|\"(?:[^\"\\]|\\.)*\"|\$\([^)]*\))*)", re.M)
VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::([-?])([^}]*))?\})")


@dataclass
class Subcommand:
    """What `frazil NAME --help` says: options, the variables in their place, and which of them take a value."""

    options: set
    variables: dict
    flags: set


@functools.cache
def subcommand(name):
    done = subprocess.run([binary(), name, "--help"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, f"frazil {name}: {done.stderr}"
    options, variables, flags = set(), {}, set()
    # One option per piece: "  -w, --warehouse <WAREHOUSE>" or "      --pg <PG>", and the text about it.
    for piece in re.split(r"^(?=  (?:-\w, |    )--)", done.stdout, flags=re.M)[1:]:
        short, long, value = re.match(r"  (?:(-\w), |    )(--[\w-]+)( <)?", piece).groups()
        options |= {long, short} - {None}
        if not value:
            flags |= {long, short} - {None}
        variable = re.search(r"\[env: (\w+)", piece)
        if variable:
            variables[variable.group(1)] = long.removeprefix("--")
    assert options and "--help" in options, done.stdout
    return Subcommand(options, variables, flags)


@functools.cache
def subcommands():
    done = subprocess.run([binary(), "--help"], capture_output=True, text=True, timeout=PATIENCE)
    listed = re.search(r"^Commands:\n((?:  .*\n)+)", done.stdout, re.M).group(1)
    return set(re.findall(r"^  (\w+)", listed, re.M)) - {"help"}


def mistakes(arguments):
    """What is wrong with `frazil ARGUMENTS`, going by --help."""
    if not arguments or arguments[0] not in subcommands():
        return [f"{arguments[:1]} is no subcommand"]
    known = subcommand(arguments[0])
    wrong, rest = [], list(arguments[1:])
    while rest:
        argument = rest.pop(0)
        name, has_value, _ = argument.partition("=")
        if not argument.startswith("-"):
            if arguments[0] not in ("run", "submit"):
                wrong.append(f"{argument} belongs to no option")
        elif name not in known.options:
            wrong.append(f"there is no {name}")
        elif name in known.flags:
            wrong += [f"{name} takes no value"] if has_value else []
        elif not has_value:
            if not rest:
                wrong.append(f"{name} has no value")
            rest = rest[1:]
    return [f"frazil {shlex.join(arguments)}: {what}" for what in wrong]


@dataclass
class Container:
    """A container as it is started: of a service of compose.yaml or of a pod."""

    where: str
    # With what the image puts before it.
    argv: list
    # What is set beyond the image's own variables.
    variables: dict
    # Names of variables whose values come from secrets.
    secret: set = field(default_factory=set)

    @property
    def environment(self):
        return {**image().variables, **self.variables}

    def frazil(self):
        """The arguments of every `frazil` that it runs."""
        argv = self.argv[2:] if self.argv[:2] == ["tini", "--"] else self.argv
        if argv[0] == "frazil":
            return [argv[1:]]
        if argv[0] == "frazil-first-user":
            return in_script(FIRST_USER.read_text())
        assert argv[:2] == ["sh", "-ec"] and len(argv) == 3, argv
        return in_script(argv[2])


def in_script(text):
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.M).replace("\\\n", " ")
    return [shlex.split(line) for line in IN_SCRIPT.findall(text)]


@dataclass
class Image:
    """The last stage of the Dockerfile."""

    entrypoint: list
    command: list
    variables: dict
    exposed: set
    instructions: list
    user: str
    healthcheck: str


@functools.cache
def image():
    with open(DEPLOY / "Dockerfile", "rb") as file:
        parser = DockerfileParser(fileobj=file)
        steps = [(step["instruction"], step["value"]) for step in parser.structure if step["instruction"] != "COMMENT"]
    last = max(at for at, (name, _) in enumerate(steps) if name == "FROM")
    final = steps[last:]

    def only(name):
        (value,) = [value for instruction, value in final if instruction == name]
        return value

    return Image(
        entrypoint=json.loads(only("ENTRYPOINT")),
        command=json.loads(only("CMD")),
        variables=dict(pair.split("=", 1) for pair in shlex.split(only("ENV"))),
        exposed={int(port) for port in only("EXPOSE").split()},
        instructions=steps,
        user=only("USER"),
        healthcheck=only("HEALTHCHECK"),
    )


def settings(path):
    """The lines NAME=value of a file."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    pairs = [line.split("=", 1) for line in lines]
    assert len(dict(pairs)) == len(lines), f"{path.name} sets something twice"
    return dict(pairs)


# ---- compose


@functools.cache
def compose_text():
    return (DEPLOY / "compose.yaml").read_text()


def interpolated(value, variables):
    """As compose does it: ${NAME:?why}, ${NAME:-default}, $$."""
    if isinstance(value, dict):
        return {key: interpolated(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolated(item, variables) for item in value]
    if not isinstance(value, str):
        return value

    def replaced(found):
        name, kind, default = found.groups()
        if name is None:
            return "$"
        if variables.get(name):
            return variables[name]
        assert kind == "-", f"{name} is needed: {default}"
        return default

    return VARIABLE.sub(replaced, value)


@functools.cache
def compose():
    """compose.yaml with the settings of .env.example."""
    return interpolated(yaml.safe_load(compose_text()), settings(DEPLOY / ".env.example"))


def compose_containers():
    """Those that run the image of Frazil, by name of the service."""
    found = {}
    for name, service in compose()["services"].items():
        if not service["image"].startswith("frazil:"):
            continue
        entrypoint, command = service.get("entrypoint"), service.get("command")
        if entrypoint is None:
            entrypoint, command = image().entrypoint, command or image().command
        # Compose forgets the image's command where an entrypoint is given.
        argv = [*entrypoint, *(command or [])]
        found[name] = Container(f"compose.yaml: {name}", argv, service.get("environment", {}))
    return found


# ---- Kubernetes


@functools.cache
def kustomization():
    return yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())


@functools.cache
def manifests():
    """Every object of the kustomization, without what it generates."""
    documents = []
    for name in kustomization()["resources"]:
        documents += [document for document in yaml.safe_load_all((KUBERNETES / name).read_text()) if document]
    return documents


@functools.cache
def secret():
    return yaml.safe_load((KUBERNETES / "secret.example.yaml").read_text())


def config_maps():
    """Those that the kustomization generates: name -> values."""
    maps = {}
    for generator in kustomization()["configMapGenerator"]:
        values = {}
        for name in generator["envs"]:
            values |= settings(KUBERNETES / name)
        maps[generator["name"]] = values
    return maps


def of_kind(kind):
    return {found["metadata"]["name"]: found for found in manifests() if found["kind"] == kind}


def pod_specs():
    """The pods that there are: name of the workload -> (labels, spec)."""
    templates = {name: workload["spec"]["template"] for name, workload in of_kind("Deployment").items()}
    return {name: (template["metadata"]["labels"], template["spec"]) for name, template in templates.items()}


def selects(selector, labels):
    return selector.items() <= labels.items()


def pod_containers():
    """By name of the workload: its containers, those that come first among them."""
    found = {}
    for name, (_, spec) in pod_specs().items():
        containers = spec.get("initContainers", []) + spec["containers"]
        found[name] = [pod_container(f"kubernetes: {name}/{it['name']}", it) for it in containers]
    return found


def pod_container(where, spec):
    variables, from_secret = {}, set()
    for source in spec.get("envFrom", []):
        variables |= config_maps()[source["configMapRef"]["name"]]
    for variable in spec.get("env", []):
        name, source = variable["name"], variable.get("valueFrom", {})
        if "secretKeyRef" in source:
            from_secret.add(name)
            variables[name] = secret()["stringData"][source["secretKeyRef"]["key"]]
        elif "fieldRef" in source:
            assert source["fieldRef"] == {"fieldPath": "status.podIP"}
            variables[name] = "127.0.0.1"
        else:
            variables[name] = variable["value"]
    command, arguments = spec.get("command"), spec.get("args")
    if command is None:
        command, arguments = image().entrypoint, arguments or image().command
    expanded = [re.sub(r"\$\((\w+)\)", lambda found: variables[found.group(1)], word) for word in [*command, *(arguments or [])]]
    return Container(where, expanded, variables, from_secret)
