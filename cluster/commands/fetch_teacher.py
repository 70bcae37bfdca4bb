"""`stillhouse fetch-teacher`: a pretrained face network, fetched once into a folder. The only command that downloads weights."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ...methods.recognition.pretrained.fetching import SOURCES, source_of, store
from ...methods.recognition.pretrained.npm_package import REGISTRY, download, registry_of
from ...platform.errors import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", help=f"which: {', '.join(SOURCES)}")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where to put it")
    parser.add_argument(
        "--registry", metavar="URL", help=f"a mirror of the npm registry; default: npm's, or {REGISTRY}"
    )
    parser.add_argument(
        "--file", type=Path, metavar="TGZ", help="the package as a file, downloaded elsewhere: no network"
    )


def execute(options: argparse.Namespace) -> dict[str, Any]:
    """Fetch, check, convert."""
    source = source_of(options.name)
    package = source.package
    if options.file is not None and options.registry is not None:
        raise BadInput("--file and --registry were both given", mend="leave one of them out")
    for line in source.notice:
        print(line, file=sys.stderr)
    if options.file is not None:
        try:
            # A larger file is another one, however large: read no more of it than tells that.
            with options.file.open("rb") as file:
                content = file.read(package.size + 1)
        except OSError as error:
            why = f"{type(error).__name__}: {error.strerror or error}"
            raise BadInput(
                f"cannot read {options.file}", why=why, mend=f"npm pack {package.name}@{package.version}"
            ) from None
        archive = package.check(content, str(options.file))
    else:
        registry = registry_of(options.registry)
        print(f"downloading {package.name} {package.version} ({package.size / 1e6:.1f} MB)", file=sys.stderr)
        archive = download(package, registry)
    card = store(source, archive, options.to)
    print(f"wrote {options.to / card.weights} (SHA-256 {card.sha256})", file=sys.stderr)
    return {
        "folder": str(options.to),
        "weights": card.weights,
        "sha256": card.sha256,
        "licence": card.licence,
        "source": card.source,
    }
