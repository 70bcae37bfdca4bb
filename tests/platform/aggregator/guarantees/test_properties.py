"""Any sequence of questions, crashes, retries and grants: the cap holds, what was told stays told, repeats are free."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from stillhouse.platform.aggregator.batches import Batch, BatchState, Result
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.mechanisms import GNMax
from support.aggregation import (
    ANSWER,
    CHECK,
    CONFIDENT,
    INTERACTIVE,
    STEPS,
    Place,
    ask,
    batch,
    doubtful,
    killed,
    killing,
    silent,
    student,
    sure,
    tied,
    votes,
)
from support.noise import repeatable_noise

MECHANISMS = {"confident": CONFIDENT, "plain": GNMax(4.0), "interactive": INTERACTIVE}
COLUMNS = (sure(0), sure(1), tied(), silent(), doubtful())
NUMBERS = st.lists(st.integers(0, 7), min_size=1, max_size=5)


def question(name: str, kind: str, numbers: list[int]) -> Batch:
    predictions = student(*[number % 4 - 1 for number in numbers]) if kind == "interactive" else None
    return batch(*numbers, id=name, mechanism=MECHANISMS[kind], student=predictions)


def table_of(numbers: list[int]) -> np.ndarray:
    return votes(*[COLUMNS[number % len(COLUMNS)] for number in numbers])


class EngineMachine(RuleBasedStateMachine):
    """`told` holds what anybody has ever seen: (mechanism, query) -> (status, label)."""

    @initialize(checks=st.integers(0, 20), answers=st.integers(0, 8))
    def start(self, checks: int, answers: int) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.granted = (checks + 1) * CHECK + (answers + 1) * ANSWER
        self.place = Place(self.folder).grant(self.granted)
        self.asked: dict[str, tuple[str, list[int]]] = {}
        self.told: dict[tuple[str, str], tuple[str, int]] = {}
        self.draws = 0
        self.ledgers = [self.place.ledger(), self.place.ledger()]

    def engine(self, on_step=lambda name: None):
        self.draws += 1
        return self.place.engine(
            repeatable_noise(self.draws), on_step=on_step, ledger=self.ledgers[self.draws % len(self.ledgers)]
        )

    def note(self, kind: str, asked: Batch, result: Result) -> None:
        for content, said in (
            zip(asked.contents, zip(result.statuses, result.labels.tolist(), strict=True), strict=True)
            if result.state is BatchState.DONE
            else ()
        ):
            if said[0] == "budget":
                assert (kind, content) not in self.told, "an answer that was seen is taken back"
            else:
                assert self.told.setdefault((kind, content), said) == said, "a query was answered twice differently"

    @rule(kind=st.sampled_from(sorted(MECHANISMS)), numbers=NUMBERS)
    def ask_something(self, kind: str, numbers: list[int]) -> None:
        name = f"batch {len(self.asked)}"
        self.asked[name] = (kind, numbers)
        self.put(name)

    @rule(kind=st.sampled_from(sorted(MECHANISMS)), numbers=NUMBERS, step=st.sampled_from(STEPS))
    def ask_and_crash(self, kind: str, numbers: list[int], step: str) -> None:
        name = f"batch {len(self.asked)}"
        self.asked[name] = (kind, numbers)
        with killed():
            asked = question(name, kind, numbers)
            self.note(kind, asked, ask(self.engine(killing(step)), asked, table_of(numbers)))

    @rule(data=st.data())
    def ask_again(self, data) -> None:
        if self.asked:
            self.put(data.draw(st.sampled_from(sorted(self.asked))))

    @rule(data=st.data())
    def ask_the_same_under_another_key(self, data) -> None:
        if self.asked:
            kind, numbers = self.asked[data.draw(st.sampled_from(sorted(self.asked)))]
            name = f"batch {len(self.asked)}"
            self.asked[name] = (kind, numbers[::-1])
            self.put(name)

    @rule(data=st.data(), step=st.sampled_from(STEPS))
    def ask_again_and_crash(self, data, step: str) -> None:
        if not self.asked:
            return
        name = data.draw(st.sampled_from(sorted(self.asked)))
        kind, numbers = self.asked[name]
        asked = question(name, kind, numbers)
        with killed():
            self.note(kind, asked, ask(self.engine(killing(step)), asked, table_of(numbers)))

    @rule()
    def recover(self) -> None:
        for waiting in self.engine().recover():
            assert waiting.id in self.asked

    @rule(data=st.data())
    def too_few_silos(self, data) -> None:
        if self.asked:
            name = data.draw(st.sampled_from(sorted(self.asked)))
            before = self.place.spent()
            engine = self.engine()
            try:
                engine.fail(name, "quorum: 1 of 100 silos voted")
            except BadInput:
                assert name not in self.asked
            assert self.place.spent() == before

    @rule(numbers=NUMBERS)
    def another_content_under_a_known_key(self, numbers: list[int]) -> None:
        for name, (kind, known) in list(self.asked.items())[:1]:
            if question(name, kind, numbers).hash != question(name, kind, known).hash:
                before = self.place.spent()
                try:
                    self.engine().submit(question(name, kind, numbers))
                    raise AssertionError("one key, two contents")
                except BadInput:
                    assert self.place.spent() == before

    @rule(more=st.integers(1, 6))
    def grant_more(self, more: int) -> None:
        self.granted += more * ANSWER
        self.place.grant(self.granted)

    def put(self, name: str) -> None:
        kind, numbers = self.asked[name]
        asked = question(name, kind, numbers)
        known = all((kind, content) in self.told for content in asked.contents)
        before = self.place.spent()
        result = ask(self.engine(), asked, table_of(numbers))
        assert result.state in (BatchState.DONE, BatchState.REFUSED)
        if known:
            assert result.state is BatchState.DONE and self.place.spent() == before, "a repeat costs"
        if result.state is BatchState.REFUSED:
            assert self.place.spent() == before and "budget" in result.reason
        self.note(kind, asked, result)

    @invariant()
    def everything_told_is_paid_and_the_cap_holds(self) -> None:
        if not hasattr(self, "told"):
            return
        budget = self.ledgers[0].budget("scans")
        checked = sum(kind != "plain" for kind, _ in self.told)
        answered = sum(status == "answered" for status, _ in self.told.values())
        assert checked * CHECK + answered * ANSWER <= budget.spent[0] <= budget.cap[0]

    def teardown(self) -> None:
        if hasattr(self, "place"):
            assert self.place.ledger().verify().ok
            self.place.close()
            shutil.rmtree(self.folder)


EngineMachine.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # Every step writes to a disk: making a failure smaller would take longer than the time a test has.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
TestEngineMachine = EngineMachine.TestCase
