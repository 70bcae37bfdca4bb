"""A few drawn people, and G2D at a size that trains in a second."""

from __future__ import annotations

import pytest
from safetensors.torch import save_file
from stillhouse.methods.recognition.g2d.classifying import Classifying
from stillhouse.methods.recognition.g2d.distilling import Distilling
from stillhouse.methods.recognition.g2d.inpainting import Inpainting
from stillhouse.methods.recognition.g2d.method import G2D
from stillhouse.methods.recognition.g2d.networks import Descriptor
from stillhouse.methods.recognition.g2d.reformer import Reforming
from stillhouse.methods.recognition.g2d.stages import Network
from stillhouse.methods.recognition.g2d.training import Training
from stillhouse.methods.recognition.networks import Architecture
from stillhouse.methods.recognition.teacher import TeacherSettings
from stillhouse.platform.data.face_set import PairSettings
from stillhouse.platform.data.face_sets import FacesProcedural
from stillhouse.platform.data.faces import FaceData


@pytest.fixture(scope="session")
def faces() -> FaceData:
    """12 people to learn from with 8 pictures each, 6 to be tested; crops of 48 pixels."""
    pairs = PairSettings(folds=2, genuine=8, impostor=8)
    drawn = FacesProcedural(train_people=12, test_people=6, sessions=2, frames=4, size=48, nuisance=0.5, draw=pairs)
    return drawn.load(seed=0, key=b"")


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> TeacherSettings:
    """A small recogniser with random weights, in a file: what is asked of a student does not depend on how good its teacher is."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    network = Architecture("resnet_small", 16)
    recogniser = network.fresh(side=16, channels=3, seed=1)
    save_file(recogniser.state_dict(), path)
    return TeacherSettings(source="checkpoint", path=str(path), network=network, size=16, name="random", check=0)


@pytest.fixture(scope="session")
def quick(teacher: TeacherSettings) -> G2D:
    """G2D at 16 pixels, an epoch a stage."""
    return G2D(
        size=16,
        network=Network(Descriptor(width=8, blocks=1), Reforming(widths=(16, 32), blocks=(1, 1), embedding=16)),
        teacher=teacher,
        segmenter=Training(epochs=1, batch_size=16, learning_rate=5e-3),
        inpainting=Inpainting(training=Training(epochs=1, batch_size=12, learning_rate=2e-3)),
        distilling=Distilling(training=Training(epochs=1, batch_size=24, learning_rate=3e-3)),
        classifying=Classifying(training=Training(epochs=1, batch_size=32)),
    )
