import dataclasses
import json
import math

import pytest
import torch
from stillhouse.platform.errors import BadInput, RunFailed
from stillhouse.platform.privacy.statement import uncovered
from stillhouse.platform.training.outcome import FILE, Metric, Outcome, execute

OUTCOME = Outcome(
    method="made_up",
    metrics={"accuracy": Metric(0.25, "fraction", "higher"), "ratio": Metric(math.inf, "1")},
    privacy=uncovered("nothing was charged"),
    artefacts={"student": "student.safetensors"},
    baselines={"linear": {"accuracy": Metric(0.1, "fraction", "higher")}},
    notes=("a note",),
)


def test_what_is_written_is_read_back_and_is_strict_json(tmp_path):
    path = OUTCOME.write(tmp_path)
    assert Outcome.read(tmp_path) == OUTCOME
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"method": 1, "metrics": 3}'])
def test_what_is_no_outcome_is_refused(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(BadInput):
        Outcome.read(tmp_path)


def test_a_missing_outcome_names_its_file(tmp_path):
    with pytest.raises(BadInput, match=r"outcome\.json does not exist"):
        Outcome.read(tmp_path)


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Uses torch's own generator outside any stage or training."""

    fail: bool = False

    def fit(self, data, run):
        if self.fail:
            raise RunFailed("no result")
        drawn = torch.nn.Linear(2, 1).weight.sum() + torch.rand(1, generator=run.generator).sum()
        return dataclasses.replace(OUTCOME, metrics={"drawn": Metric(drawn.item(), "1")})


def test_a_method_run_from_one_seed_draws_the_same_whatever_was_drawn_before(start):
    torch.manual_seed(1)
    first = execute(Drawing(), None, start()[0])
    torch.manual_seed(2)
    outside = torch.get_rng_state()
    again, _ = start(name="again")
    torch.rand(3, generator=again.generator)
    assert execute(Drawing(), None, again) == first == Outcome.read(again.folder)
    assert torch.equal(torch.get_rng_state(), outside)
    assert execute(Drawing(), None, start(seed=4, name="other")[0]) != first


def test_a_failed_start_leaves_no_outcome_of_an_earlier_one(run):
    execute(Drawing(), None, run)
    with pytest.raises(RunFailed):
        execute(Drawing(fail=True), None, run)
    assert not (run.folder / FILE).exists()
