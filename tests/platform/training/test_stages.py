import numpy as np
import pytest
import torch
from stillhouse.platform.errors import BadInput


class Counted:
    def __init__(self, value):
        self.calls, self.value = 0, value

    def __call__(self):
        self.calls += 1
        return self.value


def test_a_second_start_finds_the_stage_and_says_so(start):
    run, said = start()
    fn = Counted({"votes": np.arange(6).reshape(2, 3), "names": ["a", "b"]})
    first = run.stage("teachers", fn, {"shards": 4})
    assert run.reused == [] and not said.said
    run, said = start()
    second = run.stage("teachers", fn, {"shards": 4})
    assert fn.calls == 1 and run.reused == ["teachers"] and "teachers" in said.said[0]
    assert np.array_equal(first["votes"], second["votes"]) and second["names"] == ["a", "b"]


@pytest.mark.parametrize(("seed", "inputs"), [(4, {"shards": 4}), (3, {"shards": 5}), (3, None)])
def test_another_seed_or_other_inputs_run_it_again(start, seed, inputs):
    fn = Counted(1)
    start()[0].stage("teachers", fn, {"shards": 4})
    start(seed=seed)[0].stage("teachers", fn, inputs)
    assert fn.calls == 2


def test_the_order_of_keys_in_the_inputs_does_not_matter(start):
    fn = Counted(1)
    start()[0].stage("s", fn, {"a": 1, "b": 2})
    start()[0].stage("s", fn, {"b": 2, "a": 1})
    assert fn.calls == 1


def test_two_sets_of_inputs_are_kept_next_to_one_another(start):
    fn = Counted(1)
    for inputs in (1, 2, 1, 2):
        start()[0].stage("s", fn, inputs)
    assert fn.calls == 2


def test_a_damaged_result_is_made_again(start):
    run, _ = start()
    fn = Counted(torch.arange(100))
    run.stage("s", fn)
    (path,) = (run.folder / "stages" / "s").iterdir()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    run, said = start()
    assert torch.equal(run.stage("s", fn), torch.arange(100))
    assert fn.calls == 2 and "damaged" in said.said[0]
    assert start()[0].stage("s", fn) is not None and fn.calls == 2


def test_a_failed_stage_is_not_kept(start):
    def fail():
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        start()[0].stage("s", fail)
    assert start()[0].stage("s", Counted(5)) == 5


def test_a_fresh_value_has_the_types_of_a_found_one(start):
    fn = Counted({"accuracy": np.float32(0.5), "count": np.int64(3)})
    fresh, found = start()[0].stage("s", fn), start()[0].stage("s", fn)
    assert fresh == found and [type(v) for v in fresh.values()] == [type(v) for v in found.values()] == [float, int]


def test_randomness_after_a_stage_is_the_same_whether_it_ran_or_was_found(start):
    def draw(run):
        run.stage("s", lambda: torch.rand(5, generator=run.generator) + torch.rand(5))
        return torch.rand(3, generator=run.generator)

    assert torch.equal(draw(start()[0]), draw(start()[0]))


def test_randomness_in_a_stage_depends_on_seed_and_name_only(start):
    def drawn(run, name):
        return run.stage(name, lambda: torch.cat([torch.rand(2, generator=run.generator), torch.rand(2)]))

    torch.manual_seed(1)
    one = drawn(start(name="one")[0], "s")
    torch.manual_seed(2)
    two, _ = start(name="two")
    torch.rand(9, generator=two.generator)
    assert torch.equal(one, drawn(two, "s"))
    assert not torch.equal(one, drawn(two, "t"))


@pytest.mark.parametrize("inputs", [object(), {"nan": float("nan")}, np.arange(2)])
def test_inputs_must_be_plain_json(run, inputs):
    with pytest.raises(BadInput, match="inputs of stage s"):
        run.stage("s", lambda: 1, inputs)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 81])
def test_names_that_are_no_file_names_are_refused(run, name):
    with pytest.raises(BadInput, match="name"):
        run.stage(name, lambda: 1)
