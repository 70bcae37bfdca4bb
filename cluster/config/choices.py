"""Sections whose schema is the class they name: the method by `_target_`, the mechanism and the teacher by `name`."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ...platform.data.crowd_sets import CROWD_KINDS
from ...platform.data.face_sets import FACE_KINDS
from ...platform.data.image_sets import ImageSet
from ...platform.data.multilabel_sets import MULTILABEL_KINDS
from ...platform.data.video_sets import VIDEO_KINDS
from ...platform.errors import BadInput, ConfigError
from ...platform.privacy.mechanisms import MECHANISMS, Mechanism
from ...platform.silo.teachers import TEACHER_KINDS, TeacherKind

METHODS_PREFIX = "stillhouse.methods."
IMAGES = "images"
DATA_KINDS: dict[str, type[Any]] = {IMAGES: ImageSet, **CROWD_KINDS, **MULTILABEL_KINDS, **FACE_KINDS, **VIDEO_KINDS}


def nearest(word: str, candidates: list[str], *, section: str = "") -> str:
    """Return `; did you mean 'x'?`, or an empty text when nothing is near.

    >>> nearest("delta", ["target_epsilon", "target_delta"], section="privacy.")
    "; did you mean 'privacy.target_delta'?"
    """
    found = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6) or [c for c in candidates if word in c]
    return f"; did you mean '{section}{found[0]}'?" if found else ""


def method_class(target: object) -> type[Any]:
    """Return the method that `_target_` names. Only our own methods: a configuration file must not run other code."""
    if not isinstance(target, str) or not target.startswith(METHODS_PREFIX):
        raise BadInput(
            f"method._target_ is {target!r}",
            why=f"a method's class lies under {METHODS_PREFIX}",
            mend="choose one of the files of configs/method, for example method=pate",
        )
    module_name, _, class_name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise BadInput(f"method._target_ {target!r} does not exist", why=type(error).__name__) from error
    if not dataclasses.is_dataclass(found):
        raise BadInput(f"method._target_ {target!r} is not a method", why="a method is a frozen dataclass")
    return found  # type: ignore[return-value]


def named_class(section: str, name: object, kinds: Mapping[str, type[Any]]) -> type[Any]:
    """Return the class a section names, or say which names there are."""
    if isinstance(name, str) and name in kinds:
        return kinds[name]
    raise BadInput(
        f"{section}.name is {name!r}{nearest(str(name), list(kinds))}", mend=f"use one of {', '.join(sorted(kinds))}"
    )


def data_class(kind: object) -> type[Any]:
    """Return the kind of data called `kind`: images, where a configuration says nothing."""
    kind = IMAGES if kind is None else kind
    if isinstance(kind, str) and kind in DATA_KINDS:
        return DATA_KINDS[kind]
    raise BadInput(
        f"data.kind is {kind!r}{nearest(str(kind), list(DATA_KINDS))}", mend=f"use one of {', '.join(DATA_KINDS)}"
    )


def provided_by(file: Path) -> str:
    """Return what a shipped data set is: images, a crowd's answers."""
    return str(data_class(yaml.safe_load(file.read_text(encoding="utf-8")).get("kind")).provides)


def mechanism_class(name: object) -> type[Any]:
    """Return the noise mechanism called `name`."""
    return named_class("privacy.mechanism", name, MECHANISMS)


def teacher_class(name: object) -> type[Any]:
    """Return the teacher kind called `name`."""
    return named_class("silos.teacher", name, TEACHER_KINDS)


def build_mechanism(words: Sequence[str]) -> Mechanism:
    """Return the mechanism that `name=... key=value` words on the command line describe."""
    return _build("mechanism", words, MECHANISMS)


def build_teacher(words: Sequence[str]) -> TeacherKind:
    """Return the teacher kind that `name=... key=value` words on the command line describe."""
    return _build("teacher", words, TEACHER_KINDS)


def _build(section: str, words: Sequence[str], kinds: Mapping[str, type[Any]]) -> Any:
    values: dict[str, Any] = {}
    for word in words:
        unreadable = BadInput(f"cannot read '{word}'", mend=f"give --{section} as words of the form key=value")
        key, equals, text = word.partition("=")
        if not equals:
            raise unreadable
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise unreadable from None
    kind = named_class(section, values.pop("name", None), kinds)
    known = [f.name for f in dataclasses.fields(kind)]
    problems = [f"unknown {section} setting '{k}'{nearest(k, known)}" for k in values if k not in known]
    missing = [
        f"{section} setting '{f.name}' is missing"
        for f in dataclasses.fields(kind)
        if f.name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if problems + missing:
        raise ConfigError(problems + missing)
    return kind(**values)
