"""A comparison made of invented figures, for tests and for looking at the page."""

import math

from stillhouse.platform.privacy.statement import PrivacyStatement
from stillhouse.platform.report.comparison import ArmResult, Comparison, Trial
from stillhouse.platform.training.outcome import Metric, Outcome


def outcome(accuracy, *, epsilon=5.0, answered=250.0):
    statement = PrivacyStatement(epsilon, 1e-5, coverage="covered")
    if math.isinf(epsilon):
        statement = PrivacyStatement(epsilon, 0.0, coverage="uncovered", reasons=("a classifier saw the records",))
    metrics = {
        "student_accuracy": Metric(accuracy, "fraction", "higher"),
        "asked": Metric(300.0, "queries"),
        "answered": Metric(answered, "queries"),
        "epsilon": Metric(epsilon, "epsilon", "lower"),
    }
    return Outcome("pate", metrics, statement)


def done(seed, accuracy, **more):
    return Trial(seed, "done", outcome(accuracy, **more), seconds=10.0 + seed, found=("labels found",))


FAILED = Trial(2, "failed", seconds=1.0, trouble="RunFailed: no <answers>")


def sample():
    return Comparison(
        title="Invented figures | a study",
        seeds=(0, 1, 2),
        arms=(
            ArmResult("plain", "Plain noise", ("privacy=gnmax",), (done(0, 0.80), done(1, 0.83), done(2, 0.84))),
            ArmResult(
                "sure", "Only sure answers", (),
                (done(0, 0.82, epsilon=5.9), done(1, 0.84, epsilon=6.1, answered=260), FAILED),
            ),
            ArmResult(
                "open", "A generator that saw the records: a label that is much too long for a narrow screen to show", ("method=dgd",),
                tuple(done(s, 0.90 + s / 100, epsilon=math.inf) for s in range(3)),
            ),
            ArmResult("later", "Not run yet", (), tuple(Trial(s, "missing") for s in range(3))),
        ),
        reference="plain",
        common=("data=digits", "method=pate"),
        ledger=("All runs together have spent epsilon 31.",),
        remarks=("Somebody remarked.",),
    )  # fmt: skip
