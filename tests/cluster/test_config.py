"""Configurations: every shipped file composes, every mistake is found, all at once, with the nearest name."""

from pathlib import Path

import pytest
from stillhouse.cluster.config.choices import build_mechanism
from stillhouse.cluster.config.compose import CONFIG_DIR, STUDY_DIR, SWEEP_DIR, compose, groups
from stillhouse.methods.pate import Pate
from stillhouse.platform.data.image_sets import ImageSet
from stillhouse.platform.errors import BadInput, ConfigError
from stillhouse.platform.privacy.mechanisms import ConfidentGNMax, GNMax


def problems_of(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        compose(overrides)
    return "\n".join(caught.value.problems)


def first_line(group: str, name: str) -> str:
    return (CONFIG_DIR / group / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]


def test_the_default_is_pate_on_digits() -> None:
    resolved = compose([])
    assert isinstance(resolved.method, Pate)
    assert resolved.method.queries == 300
    assert resolved.mechanism == ConfidentGNMax(threshold=20, sigma1=8, sigma2=5)
    assert resolved.config.silos.teachers == 40


# Promises nothing, and composes only for who says that he knows.
UNPROMISED = {"dpsad_as_described": "method.acknowledge_no_guarantee=true"}
# Teachers that answer with vectors go with methods that ask for these, and only with them.
VECTORS = {n: "silos=diffusion" for n in groups()["method"] if "silos=diffusion" in first_line("method", n)}
NEEDED = UNPROMISED | VECTORS | {"diffusion": "method=dpsad"}


@pytest.mark.parametrize(("group", "name"), [(g, n) for g, names in groups().items() for n in names if g != "data"])
def test_every_shipped_file_composes(group: str, name: str) -> None:
    assert compose([f"{group}={name}", *([NEEDED[name]] if name in NEEDED else [])]).method


@pytest.mark.parametrize(
    ("words", "mend"), [(["method=dpsad"], "use silos=diffusion"), (["silos=diffusion"], "kind that votes")]
)
def test_teachers_that_cannot_answer_what_is_asked_are_refused(words: list[str], mend: str) -> None:
    text = problems_of(*words)
    assert "asks teachers for" in text and mend in text
    assert compose([*words, "silos.address=127.0.0.1:1"]).method


@pytest.mark.parametrize(("name", "word"), UNPROMISED.items())
def test_no_shipped_file_gives_the_word_that_a_user_must_give(name: str, word: str) -> None:
    assert f"set {word}" in problems_of(f"method={name}")


def test_a_method_and_data_that_do_not_fit_are_refused_with_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageSet, "provides", "crowd")
    text = problems_of("method=m3d", "data=fashion_mnist")
    assert "works on images, data=fashion_mnist is crowd" in text


def test_an_unknown_kind_of_data_is_refused_with_the_nearest() -> None:
    assert "did you mean 'images'?" in problems_of("+data.kind=image")
    assert compose(["+data.kind=images"]).config.data == compose([]).config.data


def test_what_a_data_set_does_not_suggest_is_the_default() -> None:
    plain = compose([]).plain
    assert plain["data"]["suggested"]["teachers"] == 40 and plain["privacy"]["target_delta"] == 1e-4


@pytest.mark.parametrize(
    "file",
    sorted(f for f in CONFIG_DIR.rglob("*.yaml") if not {STUDY_DIR, SWEEP_DIR} & set(f.parents)),
    ids=lambda f: f.stem,
)
def test_every_file_opens_with_a_command_that_works(file: Path) -> None:
    first = file.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# stillhouse run ")
    compose(first.removeprefix("# stillhouse run ").split())


def test_the_data_set_suggests_and_the_user_decides() -> None:
    resolved = compose(["data=fashion_mnist", "silos.teachers=100", "privacy.mechanism.threshold=80"])
    assert resolved.config.silos.teachers == 100
    assert resolved.mechanism == ConfidentGNMax(threshold=80, sigma1=75, sigma2=60)


@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_an_unknown_key_is_refused_however_it_is_given(prefix: str) -> None:
    assert "unknown key 'privacy.foo'" in problems_of(f"{prefix}privacy.foo=1")


def test_the_nearest_name_is_suggested() -> None:
    text = problems_of("silos.techers=3", "method.epoch=2", "privacy.mechanism.treshold=2", "data=fashion-mnist")
    assert "did you mean 'silos.teachers'?" in text
    assert "did you mean 'method.epochs'?" in text
    assert "did you mean 'privacy.mechanism.threshold'?" in text
    assert "did you mean 'fashion_mnist'?" in text


def test_all_problems_are_reported_at_once() -> None:
    text = problems_of("seed=blue", "silos.teachers=many", "+privacy.foo=1", "method.epochs=0", "cluster=moon")
    for word in ("seed", "silos.teachers", "privacy.foo", "epochs", "cluster=moon"):
        assert word in text, f"{word} is missing in:\n{text}"


def test_values_of_the_free_sections_are_typed_too() -> None:
    assert "sigma1" in problems_of("privacy.mechanism.sigma1=wide")
    assert "queries" in problems_of("method.queries=2.5")


def test_impossible_values_are_refused_before_anything_runs() -> None:
    assert "sigma2" in problems_of("privacy.mechanism.sigma2=0")
    assert "-1" in problems_of("method.learning_rate=-1")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("privacy.kind=gausian", "privacy.kind is 'gausian'; did you mean 'gaussian'?"),
        ("privacy.target_epsilon=nan", "privacy.target_epsilon is nan: it must be a finite number above 0"),
        ("privacy.target_epsilon=inf", "privacy.target_epsilon is inf"),
        ("privacy.target_epsilon=-1", "privacy.target_epsilon is -1"),
        ("privacy.target_delta=nan", "privacy.target_delta is nan: it must be above 0 and below 1"),
        ("privacy.target_delta=2", "privacy.target_delta is 2"),
        ("silos.teachers=0", "silos.teachers is 0: it must be 1 or more"),
        ("silos.quorum=99", "silos.quorum is 99: it must be 1 to silos.teachers, which is 40"),
        ("silos.quorum=0", "silos.quorum is 0"),
        ("silos.per_actor=0", "silos.per_actor is 0: it must be 1 or more"),
        ("silos.per_actor=-1", "silos.per_actor is -1"),
        ("silos.deadline_seconds=0", "silos.deadline_seconds is 0: it must be a finite number above 0"),
        ("silos.start_seconds=nan", "silos.start_seconds is nan"),
        ("silos.training_seconds=inf", "silos.training_seconds is inf"),
        ("silos.lost_seconds=-2", "silos.lost_seconds is -2"),
        ("cluster.workers=-1", "cluster.workers is -1: it must be 0 or more"),
        ("name=..", "name '..' cannot be used for a file"),
        ("name=/etc/x", "name '/etc/x' cannot be used for a file"),
    ],
)
def test_what_no_run_could_go_with_is_refused_before_anything_starts(word: str, said: str) -> None:
    assert said in problems_of(word)


def test_impossible_values_are_told_with_the_other_problems() -> None:
    text = problems_of("silos.per_actor=-1", "cluster.workers=-1", "method.epochs=0", "name=a/b")
    for word in ("silos.per_actor", "cluster.workers", "epochs", "a/b"):
        assert word in text, f"{word} is missing in:\n{text}"


def test_silos_that_are_elsewhere_are_counted_there() -> None:
    assert compose(["silos.quorum=99", "silos.address=127.0.0.1:50051"]).config.silos.quorum == 99


def test_a_configuration_cannot_name_other_code() -> None:
    assert "stillhouse.methods" in problems_of("method._target_=os.system")


@pytest.mark.parametrize("word", ["sigma=[1", "sigma={a", "sigma", "sigma=\t@"])
def test_words_of_a_mechanism_that_cannot_be_read_are_refused(word: str) -> None:
    assert build_mechanism(["name=gnmax", "sigma=2"]) == GNMax(2.0)
    with pytest.raises(BadInput, match="cannot read"):
        build_mechanism(["name=gnmax", word])


def test_several_values_and_deletions_are_refused() -> None:
    text = problems_of("seed=1,2", "~diagnostics")
    assert "a run takes one" in text and "cannot be deleted" in text


def test_where_files_lie_does_not_change_the_identity_of_a_run() -> None:
    assert compose([]).digest == compose(["root=elsewhere", "cluster.num_cpus=2"]).digest
    assert compose([]).digest != compose(["seed=1"]).digest


def test_labels_of_nodes_can_be_asked_for() -> None:
    resolved = compose(["cluster.label_selector.pool=gpu"])
    assert resolved.config.cluster.label_selector == {"pool": "gpu"}
    assert compose([]).config.cluster.label_selector == {}
