"""The Flower app: Flower accepts it, it holds no code, and its configuration is what the relay reads."""

from __future__ import annotations

import io
import json
import tomllib
import zipfile
from dataclasses import fields

import stillhouse
from flwr.cli.build import build_fab_from_disk
from flwr.cli.config_utils import load_and_validate
from stillhouse.cluster.federation.local import APP_FOLDER
from stillhouse.cluster.federation.terms import RelayTerms
from stillhouse.platform.silo.teachers import teacher_kind_from_json
from support.static_checks import ROOT

CONFIG = tomllib.loads((APP_FOLDER / "pyproject.toml").read_text(encoding="utf-8"))


def test_flower_accepts_it() -> None:
    _, warnings = load_and_validate(APP_FOLDER / "pyproject.toml")
    assert not warnings


def test_what_is_sent_to_silos_holds_no_code() -> None:
    held = zipfile.ZipFile(io.BytesIO(build_fab_from_disk(APP_FOLDER))).namelist()
    assert sorted(held) == [".info/CONTENT", "LICENSE", "pyproject.toml"]


def test_it_is_the_programs_version_and_asks_for_the_same_flower() -> None:
    program = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert CONFIG["project"]["version"] == program["version"] == stillhouse.__version__
    assert CONFIG["project"]["dependencies"] == [line for line in program["dependencies"] if line.startswith("flwr")]


def test_the_configuration_is_what_the_relay_reads() -> None:
    config = CONFIG["tool"]["flwr"]["app"]["config"]
    assert {field.name.replace("_", "-") for field in fields(RelayTerms)} <= set(config)
    terms = RelayTerms.read({**config, "silos": 3})
    assert terms.least == 3
    assert all("_" not in key for key in config)
    assert teacher_kind_from_json(json.loads(config["teacher"])).name == "scatter_ridge"
