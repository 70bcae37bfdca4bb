"""DP-FedAvg: what teachers' votes have to be compared with where silos could also send model updates.

Every silo trains the network of a student on its own shard, round after round, and a server averages the updates with noise (see
`platform.training.fedavg`). Its epsilon is about replacing one record, as that of votes is: one silo's update, or one teacher's
vote, may then change in any way. So both stand in one table at one epsilon.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from safetensors.torch import save_file

from ...platform.errors import BadInput, BudgetExhausted
from ...platform.privacy.accounting import plan_epsilon
from ...platform.privacy.statement import REPLACE_ONE, PrivacyStatement, Release, epsilon_up, uncovered
from ...platform.privacy.validate import positive
from ...platform.training.outcome import Metric, Outcome
from ...platform.training.run import Run
from ..dgd.classifiers import Classifier, accuracy
from ..federated import WITHOUT_NOISE, FederatedTraining, Federation, least_noise, terms
from ..transfer import LABELS, NOTHING_BOUGHT, BudgetTerms, TransferData
from .network import Network

CLIENT_RELATION = "add or remove one silo with all its records; the number of places is public and fixed"


@dataclass(frozen=True)
class DpFedAvg:
    """Average `network` over silos with the least noise that the budget allows (or with `noise_multiplier`), and release it.

    Args:
        network: what is trained.
        federation: how, on both sides.
        private: whether noise is added. Without it this is plain federated averaging; its epsilon is infinite.
        noise_multiplier: standard deviation of the noise on the sum of updates, in units of `federation.server.clip_norm`; None: as
            little as the budget allows.
    """

    works_on: ClassVar[str] = "ensemble"

    network: Network = field(default_factory=Network)
    federation: Federation = field(default_factory=Federation)
    private: bool = True
    noise_multiplier: float | None = None

    def __post_init__(self) -> None:
        if self.noise_multiplier is not None:
            positive(noise_multiplier=self.noise_multiplier)
            if not self.private:
                raise BadInput(
                    "noise for federated averaging that is not private",
                    mend="set method.private=true, or leave noise_multiplier out",
                )

    @property
    def asks(self) -> bool:
        """It asks for no votes."""
        return False

    @property
    def charges(self) -> bool:
        """Whether it charges the ledger: without noise it promises no epsilon."""
        return self.private

    def fit(self, data: TransferData, run: Run) -> Outcome:
        """Train, score.

        Raises:
            BudgetExhausted: the rounds do not fit; nothing was spent.
        """
        curator = data.curator
        if curator is None or curator.partition is None:
            raise BadInput(
                "DP-FedAvg trains in silos that are simulated here", why="these silos have an owner each, and vote only",
                mend="use method=pate",
            )  # fmt: skip
        server = self.federation.server
        noise = self._noise(data)
        work = FederatedTraining(lambda: self._build(data, run), self.federation, noise, curator.partition)
        events = work.events(curator.records)
        question = self.question(data)

        def release() -> Any:
            if noise is not None:
                self.federation.refuse_unless_trainable(self._build(data, run), noise_multiplier=noise)
                curator.refuse_unless_affordable(events, mend="raise the budget with `stillhouse ledger grant`")
            return curator.release(work, run)

        state = run.stage("federated", release, inputs=question, once=True)
        run.stage(LABELS, lambda: NOTHING_BOUGHT, inputs=question, once=True)
        model = self._build(data, run)
        model.take_over(state)
        model.eval()
        if run.world.first:
            save_file(model.released(), run.folder / "student.safetensors")
        metrics = {"student_accuracy": Metric(accuracy(model, data.score), "fraction", "higher")}
        silos = curator.partition.shards
        notes = [f"{server.rounds} rounds over {silos} silos, each in a round with probability {server.sample_rate:g}"]
        told = uncovered(WITHOUT_NOISE)
        if noise is not None:
            epsilon = plan_epsilon([event for _, event in events], data.delta)
            exact = all(event.gaussian for _, event in events)
            told = PrivacyStatement.of_releases(
                epsilon, data.delta, neighbouring=REPLACE_ONE,
                releases=[Release(name, event.to_json(), epsilon) for name, event in events],
                accounting="data-independent; a silo's update may become any other one within the clipping norm; "
                + ("exact conversion of a Gaussian plan" if exact else "Renyi, tight conversion"),
            )  # fmt: skip
            without = plan_epsilon([server.without_a_client(noise)], data.delta)
            notes.append(
                f"for other neighbours ({CLIENT_RELATION}) the same training has epsilon {epsilon_up(without)} at "
                f"delta {data.delta:g}; that figure says nothing of a record in a silo that stays"
            )
            metrics["noise_multiplier"] = Metric(noise, "clipping norms")
        metrics["epsilon"] = Metric(told.epsilon, "epsilon", "lower")
        return Outcome("dp_fedavg", metrics, told, artefacts={"student": "student.safetensors"}, notes=tuple(notes))

    def question(self, data: TransferData) -> dict[str, Any]:
        """Return all that the result depends on."""
        return {
            "method": asdict(self), "ensemble": data.ensemble_id, "epsilon": data.epsilon, "delta": data.delta,
        }  # fmt: skip

    def budget_terms(self, *, epsilon: float, delta: float) -> BudgetTerms | None:
        """The budget that the accounting needs."""
        return terms(self.federation.server, epsilon=epsilon, delta=delta) if self.private else None

    def _build(self, data: TransferData, run: Run) -> Classifier:
        return self.network.build(data.pool, data.score.shape, data.classes, seed=run.seed_for("federated"))

    def _noise(self, data: TransferData) -> float | None:
        """The noise multiplier.

        Raises:
            BudgetExhausted: the one that was given costs more than the target.
        """
        if not self.private:
            return None
        server = self.federation.server
        if self.noise_multiplier is None:
            return least_noise(server, epsilon=data.epsilon, delta=data.delta)
        costs = plan_epsilon([server.event(self.noise_multiplier)], data.delta)
        if not math.isinf(data.epsilon) and costs > data.epsilon * (1 + 1e-9):
            raise BudgetExhausted(
                f"{server.rounds} rounds cost epsilon {epsilon_up(costs)} of {data.epsilon:g} at delta {data.delta:g} ({REPLACE_ONE})",
                why=f"the noise multiplier is {self.noise_multiplier:g}; nothing was spent",
                mend="leave method.noise_multiplier empty, or raise privacy.target_epsilon",
            )
        return self.noise_multiplier
