"""A few "people" for the tests of the recognition methods: each is a pattern of colours, each picture a noisy copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from stillhouse.methods.recognition.augmentation import Augmentation
from stillhouse.methods.recognition.judging import Judging
from stillhouse.methods.recognition.method import FaceRecognition
from stillhouse.methods.recognition.networks import Architecture
from stillhouse.methods.recognition.recipe import Recipe
from stillhouse.methods.recognition.teacher import TeacherSettings
from stillhouse.methods.recognition.terms import Terms
from stillhouse.platform.data.degradation import Degradation
from stillhouse.platform.data.face_pairs import make_pairs
from stillhouse.platform.data.faces import FaceData, FaceImages, InMemory
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun

SIDE = 32
STILL = Augmentation(flip=0.5, shift=0.0, gain=0.0)
LITTLE = Recipe(epochs=2, batch_size=16, augmentation=STILL)
SMALL = Architecture("resnet20", embedding_length=24)


def people(count: int, each: int, seed: int, *, noise: float = 30.0) -> FaceImages:
    """So many people with so many pictures each, of two media."""
    generator = np.random.default_rng(seed)
    patterns = generator.uniform(40, 215, (count, 3, 4, 4)).repeat(SIDE // 4, 2).repeat(SIDE // 4, 3)
    who = np.repeat(np.arange(count), each)
    gain = generator.uniform(0.8, 1.2, (len(who), 1, 1, 1))
    pictures = patterns[who] * gain + generator.normal(0, noise, (len(who), 3, SIDE, SIDE))
    images = pictures.clip(0, 255).astype(np.uint8)
    names = tuple(f"{person}/{number}" for number, person in enumerate(who))
    return FaceImages(InMemory(images), who, names, media=np.arange(len(who)) % 2 + 2 * who)


def few_faces(*, train: int = 8, test: int = 9, each: int = 4) -> FaceData:
    """Faces to learn from, others to be tested, pairs in three folds."""
    tested = people(test, each, 2)
    pairs = make_pairs(tested, folds=3, genuine=8, impostor=40, seed=0)
    return FaceData(people(train, each, 1), tested, pairs, "few_faces", "patterns of colours")


def method(terms: Terms | None = None, **more: object) -> FaceRecognition:
    """A method of a second or two."""
    settings: dict[str, object] = {
        "algorithm": "tried", "degradation": Degradation(8), "student": SMALL, "recipe": LITTLE, "terms": terms or Terms(),
        "teacher": TeacherSettings(network=SMALL, recipe=LITTLE, size=16), "judging": Judging(fars=(0.1,)), **more,
    }  # fmt: skip
    return FaceRecognition(**settings)  # type: ignore[arg-type]


def silent_run(folder: Path, seed: int = 0) -> LocalRun:
    """A run that says nothing."""
    return LocalRun(folder, seed=seed, reporter=Silent())
