"""A study's file: its arms and seeds. Only the form is looked at here; `plan` composes what the arms say.

# stillhouse compare digits_pate
title: PATE on digits, with and without the threshold
common: [data=digits, method=pate, diagnostics=false]
seeds: [0, 1, 2]
reference: plain              # optional: paired differences against it
metrics: [student_accuracy]   # optional: the columns; the first is the score
budget: 500                   # optional: an epsilon that all runs together may not pass
arms:
  plain: {label: "GNMax", overrides: [privacy=gnmax]}
  confident: {}
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ...platform.errors import BadInput
from ...platform.training.files import check_name
from ..config.choices import nearest
from ..config.compose import STUDY_DIR

KEYS = ["title", "common", "seeds", "reference", "metrics", "budget", "arms"]
ARM_KEYS = ["label", "overrides"]


@dataclass(frozen=True)
class Arm:
    """One arm: its name is a folder's, its label is shown, its overrides come after the common ones."""

    name: str
    label: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """What a file says, as far as it can be read. `budget` caps all runs together, in epsilon; None: their targets do."""

    name: str
    title: str
    common: tuple[str, ...]
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]
    reference: str | None
    budget: float | None
    metrics: tuple[str, ...] = ()  # none: the comparison's own


def find_study(given: str) -> Path:
    """Return the file: a path, or a bare name looked up among the shipped ones."""
    if given.endswith((".yaml", ".yml")) or "/" in given:
        if not Path(given).is_file():
            raise BadInput(f"there is no study file {given}", mend="check the path")
        return Path(given)
    known = sorted(file.stem for file in STUDY_DIR.glob("*.yaml"))
    if given not in known:
        raise BadInput(
            f"there is no study '{given}'{nearest(given, known)}",
            mend=f"use one of {', '.join(known)}, or the path of a .yaml file",
        )
    return STUDY_DIR / f"{given}.yaml"


def read_study(path: Path) -> tuple[Study, list[str]]:
    """Return the study and all that is wrong with its form.

    Raises:
        BadInput: the file is not YAML, or not a mapping.
    """
    problems: list[str] = []
    tree = _load(path, problems)
    problems += [f"unknown key '{key}'{nearest(str(key), KEYS)}" for key in tree if key not in KEYS]
    arms = tuple(_arms(tree.get("arms"), problems))
    labels = [arm.label for arm in arms]
    problems += [f"two arms have the label '{label}'" for label in sorted(set(labels)) if labels.count(label) > 1]
    reference = tree.get("reference")
    if reference is not None and reference not in (names := [arm.name for arm in arms]):
        problems.append(f"reference '{reference}' is no arm{nearest(str(reference), names)}")
        reference = None
    study = Study(
        name=checked_name(path.stem, problems),
        title=text_of(tree.get("title", path.stem), "title", problems),
        common=override_list(tree.get("common"), "common", problems),
        seeds=seed_list(tree.get("seeds", [0]), problems),
        arms=arms,
        reference=reference,
        budget=budget_of(tree.get("budget"), problems),
        metrics=_metrics(tree.get("metrics"), problems),
    )
    return study, problems


class KeysOnce(yaml.SafeLoader):
    """YAML that remembers keys given twice; plain YAML takes the last of them."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.doubles: list[str] = []

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Note keys that come twice, then do what YAML does."""
        seen: list[str] = []
        for key, _ in node.value:
            if key.value in seen:
                self.doubles.append(f"'{key.value}' is given twice (line {key.start_mark.line + 1})")
            seen.append(key.value)
        return super().construct_mapping(node, deep)


def _load(path: Path, problems: list[str]) -> dict[Any, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            loader = KeysOnce(file)
            tree = loader.get_single_data()
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not YAML", why=" ".join(str(error).split())) from None
    if not isinstance(tree, dict):
        raise BadInput(f"{path} is not a study", mend=f"a study has the keys {', '.join(KEYS)}")
    problems += dict.fromkeys(loader.doubles)
    return tree


def _arms(found: Any, problems: list[str]) -> list[Arm]:
    if not isinstance(found, dict) or not found:
        problems.append("arms: there is none; give each as NAME: {label: ..., overrides: [KEY=VALUE, ...]}")
        return []
    arms = []
    for key, said in found.items():
        name, said = checked_name(str(key), problems), {} if said is None else said
        if not isinstance(said, dict):
            problems.append(f"arm '{name}' is not a mapping of {' and '.join(ARM_KEYS)}")
            continue
        problems += [f"arm '{name}': unknown key '{k}'{nearest(str(k), ARM_KEYS)}" for k in said if k not in ARM_KEYS]
        label = text_of(said.get("label", name), f"arm '{name}': label", problems)
        arms.append(Arm(name, label, override_list(said.get("overrides"), f"arm '{name}': overrides", problems)))
    return arms


def override_list(found: Any, where: str, problems: list[str]) -> tuple[str, ...]:
    """Return the overrides that stand at a place in a file."""
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(line, str) for line in found):
        problems.append(f"{where} is not a list of KEY=VALUE texts")
        return ()
    return tuple(found)


def seed_list(found: Any, problems: list[str]) -> tuple[int, ...]:
    """Return the seeds of a file."""
    whole = isinstance(found, list) and all(type(seed) is int and seed >= 0 for seed in found)
    if not whole or not found or len(set(found)) < len(found):
        problems.append(f"seeds are {found!r}: give different whole numbers from 0, at least one")
        return ()
    return tuple(found)


def _metrics(found: Any, problems: list[str]) -> tuple[str, ...]:
    if found is None:
        return ()
    named = isinstance(found, list) and found and all(isinstance(name, str) for name in found)
    if not named or len(set(found)) < len(found):
        problems.append(f"metrics are {found!r}: give different names of an outcome's metrics, at least one")
        return ()
    return tuple(found)


def budget_of(found: Any, problems: list[str]) -> float | None:
    """Return the cap on all runs of a file together, in epsilon."""
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < math.inf:
        problems.append(f"budget is {found!r}: give an epsilon above 0, or leave it out")
        return None
    return float(found)


def text_of(found: Any, where: str, problems: list[str]) -> str:
    """Return a text that may not be empty."""
    if not isinstance(found, str) or not found.strip():
        problems.append(f"{where} is {found!r}, not a text")
    return str(found)


def checked_name(name: str, problems: list[str]) -> str:
    """Return a name that can be a folder's."""
    try:
        return check_name(name)
    except BadInput as error:
        problems.append(str(error))
        return name
