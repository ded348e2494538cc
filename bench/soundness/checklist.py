"""The checks by number: what each one asks, and what to try next where it says WARN or FAIL."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.cards.threat import Side
from bench.soundness.verdicts import Finding, Verdict, Verdicts


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        id: "D1" to "D20".
        title: What it asks, in a few words.
        advice: What to try where it says WARN or FAIL.
    """

    id: str
    title: str
    advice: str

    def finding(
        self, verdict: Verdict, found: str, *, side: Side | None = None, figures: Mapping[str, float] | None = None
    ) -> Finding:
        """What it found; see `Finding`."""
        advice = self.advice if verdict in (Verdict.WARN, Verdict.FAIL) else ""
        numbers = {name: float(value) + 0.0 for name, value in (figures or {}).items()}
        return Finding(
            check=self.id, title=self.title, verdict=verdict, side=side, figures=numbers, found=found, advice=advice
        )

    def skipped(self, why: str, *, side: Side | None = None) -> Finding:
        """That it could not be asked, and why."""
        return self.finding(Verdict.SKIPPED, why, side=side)


CHECKS = {
    check.id: check
    for check in (
        Check(
            "D1",
            "the score is the same twice",
            "declare that the score is random (`random` of its `DetectorInfo`) and draw from `noise` alone, which the "
            "harness averages; where batches change a score, give --micro-batch.",
        ),
        Check(
            "D2",
            "there is a gradient",
            "give the detector an `objective` of the same order without saturation or rounding, or attack it by scores "
            "alone (square, transfer).",
        ),
        Check(
            "D3",
            "the gradient is the gradient",
            "look for detached tensors, rounding and in-place changes in the score; where an approximation is meant, "
            "declare it (`approximate_gradient`).",
        ),
        Check("D4", "random points do not beat it", "the gradient misleads: try adaptive, square, or an `objective`."),
        Check(
            "D5",
            "a larger eps helps the attacker",
            "give the larger eps more steps, or the smaller eps's result as a start; look at D2 where nothing moves.",
        ),
        Check("D6", "more steps do not help", "double --steps until the AUROC stands still."),
        Check("D7", "more restarts do not help", "raise --restarts until the AUROC stands still."),
        Check(
            "D8",
            "the step size is right",
            "take the --step-size that did best, and enough steps to cross the ball.",
        ),
        Check(
            "D9",
            "without a radius it succeeds",
            "an attack that cannot even copy an ID image proves nothing: look at D2 and D3, and try square.",
        ),
        Check("D10", "iterating beats one step", "lower --step-size and raise --steps; look at D3."),
        Check(
            "D11",
            "a black box does not beat it",
            "the gradient is masked: report the black box's figure, and give the detector an `objective`.",
        ),
        Check(
            "D12",
            "transferred images do not beat it",
            "the gradient is masked: report the transferred images' figure, and give the detector an `objective`.",
        ),
        Check("D13", "the last iterate against the best", "nothing: the best iterate is what is reported."),
        Check(
            "D14",
            "scores tell images apart",
            "score the unsaturated form: log-odds or logits in place of probabilities, float64 in place of float32; "
            "`bench table --full` shows the AUROC with ties against the defender.",
        ),
        Check(
            "D15",
            "the landscape is smooth",
            "average the gradient over points around the iterate, or try square; where the score jumps, report auto-l2 "
            "or auto-linf.",
        ),
        Check(
            "D16",
            "the images are allowed",
            "mend the threat's projection; where rounding to 8 bits undoes the attack, report the AUROC after it.",
        ),
        Check(
            "D17",
            "the attack sees the whole defence",
            "choose a threat whose objective covers every component of the card, or the detector's whole score.",
        ),
        Check(
            "D18",
            "the controls are found out",
            "the checks or the harness of this build are broken: mend them before any figure is believed.",
        ),
        Check(
            "D19",
            "it is the detector of the card",
            "restore weights and data; a clean AUROC below 0.5 alone is a finding about the detector.",
        ),
        Check(
            "D20",
            "repairs of its gradient do not beat it",
            "the gradient is masked: report the worst case with --threat auto-l2 or auto-linf, which tries the same.",
        ),
    )
}


def checks_made(verdicts: Mapping[str, Verdicts]) -> str:
    """How many of all checks were made of each attack, in words: "5 of 20" or "3 to 9 of 20"; empty without any."""
    numbers = sorted({_made(one) for one in verdicts.values()})
    if not numbers:
        return ""
    many = str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    return f"{many} of {len(CHECKS)}"


def _made(verdicts: Verdicts) -> int:
    return len({finding.check for finding in verdicts.findings if finding.verdict is not Verdict.SKIPPED})
