"""The variants of DP-SAD, and what may be said of each before anything is run.

As published, noise is divided by the number of diffusion steps while the signal is not, the student is fed noised records, and one
record's part in the teacher is not counted: no epsilon is established for that. The other variants have one.

| mode | what is bought | neighbours |
| --- | --- | --- |
| released_targets | noisy means of the teachers' clipped estimates, once (V4) | replace one |
| aggregated_output_grad | noisy means of the teachers' clipped gradients, each step (V3) | replace one |
| sharded_output_grad | one secretly drawn teacher's clipped gradient and noise, each step (V2) | replace one |
| dpsgd_student | DP-SGD of the student itself, no teacher (V1, as DPDM) | add or remove one |
| dp_teacher | DP-SGD of the teacher; the distillation is post-processing | add or remove one |
| as_described | nothing that an epsilon follows from | - |
| nonprivate | the teacher, trained without noise: the upper reference | - |
"""

from __future__ import annotations

from enum import StrEnum

from ...platform.privacy.statement import NOT_ESTABLISHED


class Mode(StrEnum):
    """Which variant."""

    RELEASED_TARGETS = "released_targets"
    DPSGD_STUDENT = "dpsgd_student"
    SHARDED_OUTPUT_GRAD = "sharded_output_grad"
    AGGREGATED_OUTPUT_GRAD = "aggregated_output_grad"
    DP_TEACHER = "dp_teacher"
    AS_DESCRIBED = "as_described"
    NONPRIVATE = "nonprivate"

    @property
    def asks_teachers(self) -> bool:
        """Whether teachers with a shard each are asked; otherwise one party holds all records."""
        return self in (Mode.RELEASED_TARGETS, Mode.SHARDED_OUTPUT_GRAD, Mode.AGGREGATED_OUTPUT_GRAD)

    @property
    def by_dpsgd(self) -> bool:
        """Whether a denoiser is trained by DP-SGD."""
        return self in (Mode.DPSGD_STUDENT, Mode.DP_TEACHER)

    @property
    def covered(self) -> bool:
        """Whether an epsilon is promised."""
        return self not in (Mode.AS_DESCRIBED, Mode.NONPRIVATE)

    @property
    def of_gradients(self) -> bool:
        """Whether what is clipped and noised are gradients by the student's images."""
        return self in (Mode.SHARDED_OUTPUT_GRAD, Mode.AGGREGATED_OUTPUT_GRAD, Mode.AS_DESCRIBED)

    def why_uncovered(self, *, dilution: bool = True) -> str:
        """What stands beside an infinite epsilon. `dilution`: whether the noise is divided by the number of steps, as published."""
        if self is Mode.AS_DESCRIBED:
            divided = (
                "The noise is divided by the number of diffusion steps and the signal is not; the"
                if dilution
                else "The"
            )
            return (
                f"{NOT_ESTABLISHED}. {divided} student is fed noised records, so its updates tell them whatever the noise; and a "
                "record's part in the teacher is not counted"
            )
        return "the teacher was trained on all records without noise, and is released with its samples"
