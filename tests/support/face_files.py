"""Small folders of drawn faces, for tests that read files."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

PEOPLE = ("Ada_Lovelace", "Blaise_Pascal", "Carl_Gauss", "Dido", "Emmy_Noether", "Fermat")
LANDMARKS = "69 109 106 113 77 142 73 152 108 154"


def colours(person: int, number: int, side: int = 12) -> np.ndarray:
    """A picture that tells who and which it is: uint8 (side, side, 3)."""
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = 20 * person + 5, 10 * number
    pixels[: side // 2, :, 2] = 200
    return pixels


def write_lfw_like(root: Path, pictures: int = 4, people: tuple[str, ...] = PEOPLE, side: int = 12) -> Path:
    """`Person/Person_0001.png` and so on, in the layout of LFW."""
    for person, name in enumerate(people):
        folder = root / name
        folder.mkdir(parents=True)
        for number in range(1, pictures + 1):
            Image.fromarray(colours(person, number, side)).save(folder / f"{name}_{number:04d}.png")
    return root


def packed(folder: Path, archive: Path, compression: str = "") -> Path:
    """The folder as a tar archive, with names as `tar -c .` writes them."""
    with tarfile.open(archive, f"w:{compression}" if compression else "w") as file:
        file.add(folder, arcname=".")
    return archive


def write_celeba(
    root: Path, people: tuple[int, ...] = (30, 30, 4, 4, 17, 17), parts: tuple[int, ...] = (0, 0, 0, 0, 2, 2)
) -> Path:
    """Noise in CelebA's layout: who is on each picture, and in which part it is."""
    folder = root / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"{i + 1:06d}.jpg" for i in range(len(people))]
    rng = np.random.default_rng(0)
    for name in names:
        Image.fromarray(rng.integers(0, 256, (218, 178, 3), np.uint8)).save(
            folder / "img_align_celeba" / name, quality=95
        )
    rows = list(zip(names, people, parts, strict=True))
    (folder / "identity_CelebA.txt").write_text("".join(f"{name} {who}\n" for name, who, _ in rows[::-1]))
    (folder / "list_eval_partition.txt").write_text("".join(f"{name} {part}\n" for name, _, part in rows))
    head = f"{len(rows)}\nlefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y\n"
    (folder / "list_landmarks_align_celeba.txt").write_text(head + "".join(f"{name}  {LANDMARKS}\n" for name in names))
    return root
