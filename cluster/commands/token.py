"""`stillhouse token`: make an access token. The file keeps its hash only; the secret is printed or written once."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ...platform.aggregator.tokens import add_token


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("role", choices=["silo", "analyst", "officer"])
    parser.add_argument("name", help="who will hold it; for a silo, its name in the roster")
    parser.add_argument("--tokens", type=Path, required=True, help="the aggregator's file of token hashes")
    parser.add_argument("--out", type=Path, help="write the secret to this file (mode 600) instead of printing it")


def execute(options: argparse.Namespace) -> dict[str, Any]:
    """Make the token and hand it over."""
    secret = add_token(options.tokens, role=options.role, name=options.name)
    if options.out:
        options.out.touch(mode=0o600)
        options.out.write_text(secret + "\n", encoding="utf-8")
        print(f"{options.role} token of {options.name} written to {options.out}", file=sys.stderr)
        return {"name": options.name, "role": options.role, "file": str(options.out)}
    if not options.json:
        print(secret)
    return {"name": options.name, "role": options.role, "token": secret}
