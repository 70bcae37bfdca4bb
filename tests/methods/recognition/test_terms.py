"""All terms through one door: built, weighed, remembered, and kept in checkpoints."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from stillhouse.methods.recognition.aird.losses import InstanceRelation
from stillhouse.methods.recognition.baselines.crd import Memory
from stillhouse.methods.recognition.baselines.kd import kd
from stillhouse.methods.recognition.baselines.pkt import pkt
from stillhouse.methods.recognition.crrcd.loss import Relation
from stillhouse.methods.recognition.seen import Batch
from stillhouse.methods.recognition.terms import NAMES, Terms, own_parameters
from stillhouse.platform.errors import BadInput
from support.distillation import SIZES, drawn_batch, with_teacher_gradients

SMALL = Relation(dimension=4, hidden=5, negatives=3, queue=9, warm_up=0.2, rel_off_last_frac=0.1)
ALL = Terms(
    **dict.fromkeys(NAMES, 1.0),
    crd_settings=Memory(dimension=3, negatives=8),
    crrcd_settings=SMALL,
    aird_settings=InstanceRelation(relation=SMALL),
)
TRAINED = {"fitnet", "crd", "vid", "crrcd", "instance", "relation"}  # Terms with weights of their own.


def _stepped(terms: Terms, modules: torch.nn.ModuleDict, batch: Batch) -> dict[str, torch.Tensor]:
    total, parts = terms.weighted(batch, modules)
    total.backward()
    terms.after_step(batch, modules)
    return parts


def test_names_are_all_the_weights_there_are() -> None:
    floats = {name for name, value in vars(Terms()).items() if value == 0.0 and isinstance(value, float)}
    assert floats == set(NAMES)
    assert Terms().names == () and Terms(kd=0.5, crrcd=2).names == ("kd", "crrcd")


def test_every_term_works_in_single_precision_and_under_half_and_spares_the_teacher() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        modules = ALL.build(SIZES, seed=0)
        assert tuple(modules) == NAMES == ALL.names
        for number in range(3):
            batch = with_teacher_gradients(drawn_batch(number, dtype=dtype))
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
                parts = _stepped(ALL, modules, batch)
        assert all(torch.isfinite(value) and not value.requires_grad for value in parts.values())
        assert all(parts[name].dtype == torch.float32 and parts[name] != 0 for name in NAMES)
        assert batch.teacher.embedding.grad is None and all(one.grad is None for one in batch.teacher.maps)
        assert batch.student.embedding.grad is not None
        without = {name for name, module in modules.items() if not list(module.parameters())}
        assert without == set(NAMES) - TRAINED
        assert all(one.grad is not None for one in modules.parameters())


def test_the_sum_is_weighed_and_parts_are_not() -> None:
    terms = Terms(kd=0.5, pkt=300.0)
    batch = drawn_batch(0)
    total, parts = terms.weighted(batch, terms.build(SIZES, 0))
    assert parts == {"kd": kd(batch), "pkt": pkt(batch)}
    assert total.item() == pytest.approx(0.5 * kd(batch).item() + 300 * pkt(batch).item())
    assert Terms().weighted(batch, Terms().build(SIZES, 0)) == (0, {})


def test_crrcd_is_weighed_by_its_schedule_and_measured_throughout() -> None:
    terms = Terms(crrcd=2.0, crrcd_settings=SMALL)
    modules = terms.build(SIZES, 0).double()
    _stepped(terms, modules, drawn_batch(0))
    for progress, factor in ((0.0, 0.0), (0.1, 0.5), (0.5, 1.0), (0.95, 0.0)):
        batch = drawn_batch(1, progress=progress)
        modules.zero_grad()
        total, parts = terms.weighted(batch, modules)
        assert total.item() == pytest.approx(2 * factor * parts["crrcd"].item()) and parts["crrcd"] > 0
        below = modules["crrcd"].floor - parts["crrcd"]
        assert parts["crrcd_below_floor"].item() == pytest.approx(below.item())
        total.backward()
        assert all(one.grad is not None for one in modules.parameters())
        assert (batch.student.embedding.grad is not None) == (factor > 0)


def test_weights_of_a_term_depend_on_the_seed_and_its_name_only() -> None:
    alone = Terms(crrcd=1.0, crrcd_settings=SMALL)
    states = [terms.build(SIZES, seed) for terms, seed in ((ALL, 3), (alone, 3), (alone, 4))]
    weights = [one["crrcd"].cross_relation.projection.weight for one in states]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[1], weights[2])
    before = torch.get_rng_state()
    ALL.build(SIZES, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_both_losses_of_aird_share_one_map_and_it_is_given_to_the_optimiser_once() -> None:
    modules = Terms(instance=1.0, relation=1.0).build(SIZES, 0)
    (only,) = own_parameters(modules)
    assert only.shape == (6, 5)
    assert own_parameters(Terms(instance=1.0, relation=1.0).build(replace(SIZES, student=6), 0)) == []


def test_terms_go_on_from_their_state_to_the_same_bits() -> None:
    first, second = ALL.build(SIZES, 0), ALL.build(SIZES, 1)
    for number in range(3):
        _stepped(ALL, first, drawn_batch(number, dtype=torch.float32))
    second.load_state_dict(first.state_dict())
    found = []
    for modules in (first, second):
        torch.manual_seed(7)
        found.append([_stepped(ALL, modules, drawn_batch(number, dtype=torch.float32)) for number in (5, 6)])
    for one, two in zip(*found, strict=True):
        assert all(torch.equal(one[name], two[name]) for name in NAMES)


@pytest.mark.parametrize("name", ["fitnet", "at", "vid", "nst", "sp"])
def test_terms_of_maps_say_so_and_refuse_networks_without(name: str) -> None:
    terms = Terms(**{name: 1.0})
    assert terms.needs_maps and not Terms(kd=1.0, rkd=1.0).needs_maps
    with pytest.raises(BadInput, match=f"{name} compares feature maps, and this teacher"):
        terms.build(replace(SIZES, teacher_maps=()), 0)


def test_similarities_of_embeddings_need_no_maps() -> None:
    terms = Terms(sp=1.0, sp_on="embedding")
    assert not terms.needs_maps and terms.build(replace(SIZES, teacher_maps=(), student_maps=()), 0)
    for wrong in ({"sp_on": "pixels"}, {"kd": -1.0}, {"kd_temperature": 0.0}):
        with pytest.raises(BadInput, match=next(iter(wrong))):
            Terms(**wrong)
