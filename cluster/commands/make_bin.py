"""`stillhouse make-bin`: pairs of faces in a folder as one `.bin` file, which InsightFace's scripts and `data.kind=faces_bin` read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ...platform.data.face_folder import LEAVE_OUT, REFUSE
from ...platform.data.face_packing import pack_pairs
from ...platform.data.insightface_bin import write_bin
from ...platform.errors import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", type=Path, help="faces, one folder a person; or an uncompressed tar of such folders")
    parser.add_argument(
        "--pairs", type=Path, required=True, metavar="FILE", help="pairs.txt in LFW's or MFR2's dialect, or of paths"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the .bin file to write")
    parser.add_argument("--size", type=int, default=112, help="height and width of the pictures (default: 112)")
    parser.add_argument(
        "--resize",
        action="store_true",
        help="bring pictures of other sizes to it (their middle square) instead of refusing them",
    )
    parser.add_argument(
        "--leave-out",
        action="store_true",
        help="leave out pairs of which a picture is missing, instead of refusing them",
    )
    parser.add_argument("--force", action="store_true", help="replace the file if it is there")


def execute(options: argparse.Namespace) -> dict[str, Any]:
    """Pack."""
    out: Path = options.out
    if out.exists() and not options.force:
        raise BadInput(f"{out} is there already", mend="give --out another name, or --force")
    missing = LEAVE_OUT if options.leave_out else REFUSE
    packed, told = pack_pairs(options.folder, options.pairs, side=options.size, resize=options.resize, missing=missing)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_bin(out, packed)
    except OSError as error:
        raise BadInput(f"cannot write {out}", why=f"{type(error).__name__}: {error.strerror or error}") from None
    print(
        f"{out}: {len(packed):,} pairs, {int(packed.same.sum()):,} of them genuine. {' '.join(told)}", file=sys.stderr
    )
    return {
        "file": str(out),
        "pairs": len(packed),
        "genuine": int(packed.same.sum()),
        "pictures": len(set(packed.encoded)),
        "notes": told,
    }
