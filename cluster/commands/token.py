"""`stillhouse token`: make an access token. The file keeps its hash only; the secret is printed or written once."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ...platform.aggregator.tokens import add_token
from ...platform.errors import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("role", choices=["silo", "analyst", "officer"])
    parser.add_argument("name", help="who will hold it; for a silo, its name in the roster")
    parser.add_argument(
        "--owns", help="silos that a silo's token votes for, separated by commas (default: the one of its own name)"
    )
    parser.add_argument("--tokens", type=Path, required=True, help="the aggregator's file of token hashes")
    parser.add_argument("--out", type=Path, help="write the secret to this file (mode 600) instead of printing it")


def execute(options: argparse.Namespace) -> dict[str, Any]:
    """Make the token and hand it over."""
    owned = None
    if options.owns is not None:
        owned = [silo.strip() for silo in options.owns.split(",") if silo.strip()]
        if options.role != "silo" or not owned:
            raise BadInput("--owns is for a silo's token, and names at least one silo")
    secret = add_token(options.tokens, role=options.role, name=options.name, silos=owned)
    if options.out:
        options.out.touch(mode=0o600)
        options.out.write_text(secret + "\n", encoding="utf-8")
        print(f"{options.role} token of {options.name} written to {options.out}", file=sys.stderr)
        return {"name": options.name, "role": options.role, "file": str(options.out)}
    if not options.json:
        print(secret)
    return {"name": options.name, "role": options.role, "token": secret}
