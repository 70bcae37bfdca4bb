"""From overrides on the command line to a checked configuration.

Hydra composes the YAML files; the schema then checks every leaf, so that all problems are reported at once. Hydra alone is not
enough: `+privacy.foo=1` adds a key behind its back, and it stops at the first error.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ...platform.errors import BadInput, ConfigError
from ...platform.silo.teachers import VECTORS, VOTES
from . import choices
from .possible import impossible
from .schema import RunConfig

CONFIG_DIR = Path(__file__).parents[2] / "configs"
STUDY_DIR = CONFIG_DIR / "compare"  # files of `stillhouse compare`, which no run can choose
SWEEP_DIR = CONFIG_DIR / "sweep"  # and those of `stillhouse sweep`
# What methods work on, where it has another name than what data provide.
NEEDS = {"ensemble": "images", "labelled": "images"}
CHOSEN_SECTIONS = {
    ("method",): ("_target_", choices.method_class),
    ("data",): ("kind", choices.data_class),
    ("privacy", "mechanism"): ("name", choices.mechanism_class),
    ("silos", "teacher"): ("name", choices.teacher_class),
}


@dataclass(frozen=True)
class Resolved:
    """A checked configuration: the typed tree, the objects its sections name, and the plain tree for the run folder."""

    config: RunConfig
    method: Any
    mechanism: Any
    teacher: Any
    plain: dict[str, Any]
    overrides: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Hash of all that decides the result; where files lie and how many workers run is not part of it."""
        kept = {k: v for k, v in self.plain.items() if k not in ("root", "name", "cluster")}
        if self.config.cluster.precision != "float32":
            kept["precision"] = self.config.cluster.precision
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]

    def seeded(self, seed: int) -> Resolved:
        """The same run from another seed; nothing else of a configuration depends on it."""
        return self._with({"seed": seed}, f"seed={seed}")

    def placed(self, root: Path, name: str) -> Resolved:
        """The same run in another place; where files lie decides nothing else."""
        return self._with({"root": str(root), "name": name}, f"root={quoted(str(root))}", f"name={quoted(name)}")

    def _with(self, own: dict[str, Any], *words: str) -> Resolved:
        config, plain = dataclasses.replace(self.config, **own), {**self.plain, **own}
        return dataclasses.replace(self, config=config, plain=plain, overrides=(*self.overrides, *words))

    @property
    def folder(self) -> Path:
        """The run folder."""
        name = self.config.name or f"{self.plain['method_name']}-{self.config.data.name}-{self.digest}"
        return Path(self.config.root) / name


def groups() -> dict[str, list[str]]:
    """Return the configuration groups and the names in each."""
    return {
        folder.name: sorted(f.stem for f in folder.glob("*.yaml"))
        for folder in sorted(CONFIG_DIR.iterdir())
        if folder not in (STUDY_DIR, SWEEP_DIR) and folder.is_dir() and any(folder.glob("*.yaml"))
    }


def compose(overrides: Sequence[str]) -> Resolved:
    """Compose and check a run's configuration.

    Raises:
        ConfigError: listing every problem found.
    """
    accepted, problems = _accept(overrides)
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(CONFIG_DIR)):
            plain = _container(hydra_compose("config", overrides=accepted))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError([*problems, str(error).strip().splitlines()[0]]) from error
    _drop_suggestions(plain)
    sections, section_problems = _check_chosen(plain)
    config, tree_problems = _check_tree(plain)
    problems += section_problems + tree_problems + impossible(config)
    if not problems:
        method, data, mechanism, teacher = sections
        problems += _mismatch(method, data) + _other_answers(method, teacher, config)
    if problems:
        raise ConfigError(problems, mend="correct these keys; `stillhouse run --cfg` (without them) shows what is set")
    config.data = data
    target = str(plain["method"]["_target_"]).rpartition(".")[2].lower()
    plain["method_name"] = str(plain["method"].get("algorithm", target))
    return Resolved(config, method, mechanism, teacher, plain, tuple(overrides))


def quoted(text: str) -> str:
    """A text as Hydra's grammar takes it, whatever signs are in it: there a backslash is one, unless quotes follow it."""
    return "'" + re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text) + "'"


def _accept(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split overrides into what Hydra may compose and problems. Values are forced in, for the schema to judge them."""
    accepted, problems, available = [], [], groups()
    for line in overrides:
        try:
            override: Override = OverridesParser.create().parse_override(line)
        except HydraException:
            problems.append(f"cannot read '{line}': an override looks like key=value")
            continue
        key = override.key_or_group
        if override.is_sweep_override():
            problems.append(f"'{line}' gives several values: a run takes one")
        elif key in available and not override.is_delete():
            name = str(override.value())
            if name in available[key]:
                accepted.append(f"{key}={name}")
            else:
                known = ", ".join(available[key])
                problems.append(f"{key}={name}: unknown{choices.nearest(name, available[key])} (there are: {known})")
        elif override.is_delete():
            problems.append(f"'{line}' deletes a key: keys of a run cannot be deleted, only set")
        else:
            accepted.append("++" + line.lstrip("+"))
    return accepted, problems


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(tree, dict) and tree and path not in CHOSEN_SECTIONS:
        for key, value in tree.items():
            yield from _leaves(value, (*path, str(key)))
    elif path:
        yield path, tree


def _set(schema: DictConfig, path: tuple[str, ...], value: Any, where: str) -> str | None:
    """Set one leaf; return what is wrong with it, if anything. `where` is the section that the schema stands for, with its dot."""
    node: Any = schema
    name = where + ".".join(path)
    for depth, key in enumerate(path):
        section = where + "".join(f"{part}." for part in path[:depth])
        if not isinstance(node, DictConfig):
            return f"{name}: {section[:-1]} is a value, not a section"
        # A free dictionary (no structured type behind it) takes any key.
        known = [str(k) for k in node]
        if key not in known and OmegaConf.get_type(node) is not dict:
            return f"unknown key '{name}'{choices.nearest(key, known, section=section)}"
        if depth < len(path) - 1:
            node = node[key]
    try:
        OmegaConf.update(schema, ".".join(path), value, force_add=OmegaConf.get_type(node) is dict)
    except OmegaConfBaseException as error:
        return f"{name}: {str(error).splitlines()[0]}"
    return None


def _fill(
    schema_of: Any, leaves: Iterator[tuple[tuple[str, ...], Any]], where: str = ""
) -> tuple[DictConfig, list[str]]:
    schema = OmegaConf.structured(schema_of)
    _thaw(schema)
    OmegaConf.set_struct(schema, True)
    return schema, [p for path, value in leaves if (p := _set(schema, path, value, where))]


def _thaw(node: DictConfig) -> None:
    """A frozen dataclass makes a read-only node, at every depth."""
    OmegaConf.set_readonly(node, False)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none():
            _thaw(child)


def _check_tree(plain: dict[str, Any]) -> tuple[RunConfig, list[str]]:
    free = list(CHOSEN_SECTIONS)
    leaves = ((path, value) for path, value in _leaves(plain) if path not in free)
    schema, problems = _fill(RunConfig, leaves)
    if problems:
        return RunConfig(), problems
    for path in free:
        node: Any = plain
        for key in path:
            node = node.get(key, {})
        OmegaConf.set_struct(OmegaConf.select(schema, ".".join(path)), False)
        OmegaConf.update(schema, ".".join(path), node)
    config = OmegaConf.to_object(schema)
    assert isinstance(config, RunConfig)
    return config, problems


def _check_chosen(plain: dict[str, Any]) -> tuple[list[Any], list[str]]:
    """Build the objects that the free sections name, or collect why that fails."""
    built, problems = [], []
    for path, (selector, find) in CHOSEN_SECTIONS.items():
        node: Any = plain
        for key in path:
            node = node.get(key) or {}
        where = ".".join(path)
        if not isinstance(node, dict):
            problems.append(f"{where} is a section with a '{selector}', not a value")
            continue
        try:
            kind = find(node.get(selector))
        except BadInput as error:
            problems.append(str(error))
            continue
        values = {k: v for k, v in node.items() if k != selector}
        found = _check_section(kind, values, where)
        problems += found
        if not found:
            try:
                schema, _ = _fill(kind, _leaves(values))
                built.append(kind(**{f.name: _plain(schema[f.name]) for f in dataclasses.fields(kind) if f.init}))
            except BadInput as error:
                problems.append(f"{where}: {error}")
    return built, problems


def _check_section(kind: type[Any], values: dict[str, Any], where: str) -> list[str]:
    _, problems = _fill(kind, _leaves(values), f"{where}.")
    missing = [
        f"{where}.{f.name} is missing"
        for f in dataclasses.fields(kind)
        if f.init
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
        and f.name not in values
    ]
    return problems + missing


def _drop_suggestions(plain: dict[str, Any]) -> None:
    """What a data set suggests is asked for by sections that its kind may have no use for; then nothing is suggested."""
    try:
        kind = choices.data_class(plain["data"].get("kind"))
    except BadInput:
        return  # Reported with the other problems.
    if "suggested" not in {f.name for f in dataclasses.fields(kind)}:
        plain["data"].pop("suggested", None)


def _mismatch(method: Any, data: Any) -> list[str]:
    """Say so if the method cannot work on what the data are."""
    needed = NEEDS.get(method.works_on, method.works_on)
    if data.provides == needed:
        return []
    fitting = [name for name in groups()["data"] if choices.provided_by(CONFIG_DIR / "data" / f"{name}.yaml") == needed]
    return [
        f"this method works on {needed}, data={data.name} is {data.provides}: use one of data={', '.join(fitting)}, or another method"
    ]


def _other_answers(method: Any, teacher: Any, config: RunConfig) -> list[str]:
    """Say so if these teachers cannot answer what the method asks; silos elsewhere say themselves what they answer."""
    if method.works_on != "ensemble" or not getattr(method, "asks", True) or config.silos.address:
        return []
    wanted, given = getattr(method, "wants", VOTES), getattr(teacher, "answers", (VOTES,))
    if wanted in given:
        return []
    mend = "silos=diffusion" if wanted == VECTORS else "silos=scatter_ridge, or another kind that votes"
    return [f"this method asks teachers for {wanted}, these answer with {' and '.join(given)}: use {mend}"]


def _container(config: DictConfig) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))


def _plain(value: Any) -> Any:
    """Lists and dicts; a nested dataclass becomes itself, so that it checks its own values."""
    return OmegaConf.to_object(value) if OmegaConf.is_config(value) else value
