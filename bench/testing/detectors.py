"""The contract of every detector, as small checks that a plug-in's own tests can run.

    @pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
    def test_my_detector_keeps_the_contract(check):
        check(DetectorCase(my_detector(), images, ood))

A check that fails raises an AssertionError that says in one sentence what was expected.
"""

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.detectors.base import Detector
from bench.detectors.boundary import Bounded
from bench.detectors.central_differences import directional_errors
from bench.detectors.weights import load_tensors, save_tensors
from bench.errors import InputError

SAME = 1e-5
"""Of the scores' interquartile range: float32 convolutions depend on the shape of the batch by about 3e-7 relative,
which is a few 1e-6 of the range after a deep network; an order of magnitude more would move ranks."""

SAME_UP_TO_ROUNDINGS = 1e-4
"""The same for a detector that declares why roundings show in its score."""

SAME_UP_TO_JUMPS = 1e-3
"""The same for a detector whose score is declared to jump: a rounding flips single pixels of its preprocessing."""

STEPS = (1e-6, 1e-4)
"""Lengths of finite-difference steps in float64, the second where the first does not agree: the error of a step is of
second order, the score's rounding over its length about 1e-10 and 1e-12, next to which a saturated slope is small."""

GRADIENT_ERROR = 1e-3
"""Relative error of a directional derivative; a gradient that is wrong in one term is off by far more."""

AGREEING = 0.9
"""Share of directions that must agree: steps across a kink, or a jump of the preprocessing, spoil the others."""

ROUNDED = 0.05
"""Relative error of a float32 gradient next to the same in float64. Ill-conditioned covariances cost up to 0.5 %;
what cancels in float32 loses the direction."""


@dataclass(frozen=True)
class DetectorCase:
    """What the checks look at.

    Attributes:
        detector: The detector, in evaluation mode.
        images: (N >= 4, C, H, W) float32 in [0, 1], different images of the in-distribution set.
        ood: (M, C, H, W) images that the detector ought to score lower; None leaves the sign unchecked.
    """

    detector: Detector
    images: Tensor
    ood: Tensor | None = None


Check = Callable[[DetectorCase], None]


def check_detector(detector: Detector, images: Tensor, *, ood: Tensor | None = None) -> None:
    """Run all checks on a copy of a detector.

    Args:
        detector: The detector, with its weights; of one that was loaded behind the boundary, the one inside.
        images: (N >= 4, C, H, W) float32 in [0, 1], different images of the in-distribution set; eight are plenty.
        ood: (M, C, H, W) images that the detector ought to score lower; None leaves the sign unchecked.

    Raises:
        AssertionError: One sentence a check that failed.
    """
    own = detector.inner if isinstance(detector, Bounded) else detector
    failures = []
    for check in DETECTOR_CHECKS:
        try:
            check(DetectorCase(copy.deepcopy(own).eval(), images, ood))
        except AssertionError as error:
            failures.append(f"{check.__name__}: {error}")
    _require(not failures, "\n".join(failures))


def check_scores_are_one_finite_number_an_image(case: DetectorCase) -> None:
    """Shape, type and finiteness of scores and objectives."""
    with torch.no_grad():
        outputs = {"score": case.detector(case.images), "objective": case.detector.objective(case.images)}
    for name, values in outputs.items():
        _require(values.shape == (len(case.images),), f"{name} has shape {tuple(values.shape)}, not (N,)")
        _require(values.dtype == case.images.dtype, f"{name} is {values.dtype} for {case.images.dtype} images")
        _require(bool(values.isfinite().all()), f"{name} is not finite for {int((~values.isfinite()).sum())} images")


def check_scores_differ_between_images(case: DetectorCase) -> None:
    """A constant score says nothing."""
    _require(_range(_scores(case)) > 0, "the scores of different images are all the same")


def check_scores_are_the_same_without_gradients(case: DetectorCase) -> None:
    """`no_grad` and `inference_mode` change nothing, also where a detector takes gradients itself."""
    with_gradients = case.detector.score(case.images.clone().requires_grad_(True)).detach()
    without = _scores(case)
    with torch.inference_mode():
        inference = case.detector.score(case.images)
    _same(without, with_gradients, "scores under no_grad")
    _same(inference, with_gradients, "scores under inference_mode")


def check_scores_do_not_depend_on_batch_mates(case: DetectorCase) -> None:
    """The same call again, a permuted batch, and batches of one give the same scores."""
    whole = _scores(case)
    info = case.detector.info
    share = SAME_UP_TO_JUMPS if info.jumps else SAME_UP_TO_ROUNDINGS if info.roundings else SAME
    _same(_scores(case), whole, "scores of a second call", share)
    _same(_scores(case, case.images.flip(0)).flip(0), whole, "scores of a permuted batch", share)
    _same(torch.cat([_scores(case, image[None]) for image in case.images]), whole, "scores of single images", share)


def check_objective_orders_images_as_the_score_does(case: DetectorCase) -> None:
    """Where two scores differ, the objectives differ the same way; `score_and_objective` is both."""
    score, objective = (values.detach() for values in case.detector.score_and_objective(case.images))
    _same(score, _scores(case), "the scores of score_and_objective")
    with torch.no_grad():
        _same(objective, case.detector.objective(case.images), "the objectives of score_and_objective")
    by_score = score[:, None] - score[None, :]
    by_objective = objective[:, None] - objective[None, :]
    wrong = (by_score > SAME * _range(score)) & (by_objective < -SAME * _range(objective))
    _require(not bool(wrong.any()), f"the objective reverses the order of {int(wrong.sum())} pairs of images")


def check_gradient_is_the_gradient(case: DetectorCase) -> None:
    """The gradient agrees with finite differences in float64, unless it is declared to be an approximation."""
    if not case.detector.info.differentiable:
        return
    detector = copy.deepcopy(case.detector).double()
    x = 0.05 + 0.9 * case.images.double()  # away from the box, whose clamping a step could meet
    leaf = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(detector.score(leaf).sum(), leaf)
    _require(bool(gradient.isfinite().all()), "the gradient of the score is not finite")
    norms = gradient.flatten(1).norm(dim=1)
    _require(bool((norms > 0).any()), "the gradient of the score is zero for every image")
    if detector.info.approximate_gradient:
        return
    agree = directional_errors(detector.score, x, gradient, STEPS, GRADIENT_ERROR)
    share = float(agree[torch.isfinite(agree)].le(GRADIENT_ERROR).double().mean())
    _require(
        share >= AGREEING,
        f"the gradient agrees with finite differences in {share:.0%} of directions, needed are {AGREEING:.0%}; "
        "correct it, or declare info.approximate_gradient",
    )


def check_float32_gradient_is_that_of_float64(case: DetectorCase) -> None:
    """Attacks follow the gradient in float32, where large terms that cancel can round it away."""
    if not case.detector.info.differentiable:
        return
    images = case.images if case.ood is None else torch.cat([case.images, case.ood])
    for name, single, double in zip(
        ("objective", "class_scores"),
        _directing_gradients(case.detector, images.float()),
        _directing_gradients(copy.deepcopy(case.detector).double(), images.double()),
        strict=False,
    ):
        error = (single.double() - double).norm(dim=1) / double.norm(dim=1).clamp_min(1e-300)
        share = float((error <= ROUNDED).double().mean())
        _require(
            share >= AGREEING,
            f"the float32 gradient of {name} is within {ROUNDED:.0%} of the float64 one for {share:.0%} of the images, "
            f"needed are {AGREEING:.0%}; look for large terms that cancel, such as 0 / 1e-8",
        )


def check_gradient_is_finite_everywhere(case: DetectorCase) -> None:
    """Also on OOD images, on black and white ones and on noise, where roots and logarithms have their corners."""
    if not case.detector.info.differentiable:
        return
    shape = case.images.shape
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    kinds = {"ID": case.images, "black": torch.zeros(shape), "white": torch.ones(shape), "noise": noise}
    for name, images in (kinds if case.ood is None else {**kinds, "OOD": case.ood}).items():
        leaf = images.clone().requires_grad_(True)
        score, objective = case.detector.score_and_objective(leaf)
        _require(bool(score.isfinite().all()), f"the scores of {name} images are not all finite")
        (gradient,) = torch.autograd.grad(objective.sum(), leaf)
        broken = int((~gradient.flatten(1).isfinite().all(dim=1)).sum())
        _require(broken == 0, f"the gradient is not finite for {broken} of {len(leaf)} {name} images")


def check_model_and_generator_are_untouched(case: DetectorCase) -> None:
    """Scoring and its gradient leave state, mode, requires_grad, .grad and the global generator alone."""
    detector = case.detector
    state = {name: value.clone() for name, value in detector.state_dict().items()}
    modes = [module.training for module in detector.modules()]
    wanted = [parameter.requires_grad for parameter in detector.parameters()]
    generator = torch.get_rng_state()
    leaf = case.images.clone().requires_grad_(True)
    for value in (detector.score(leaf), detector.objective(leaf), *detector.score_and_objective(leaf)):
        if value.requires_grad:
            torch.autograd.grad(value.sum(), leaf, retain_graph=True)
    for name, value in detector.state_dict().items():
        _require(torch.equal(value.nan_to_num(), state[name].nan_to_num()), f"scoring changed '{name}'")
    _require(modes == [module.training for module in detector.modules()], "scoring changed train or eval mode")
    _require(wanted == [p.requires_grad for p in detector.parameters()], "scoring changed requires_grad")
    _require(all(p.grad is None for p in detector.parameters()), "scoring left gradients in parameters")
    _require(torch.equal(generator, torch.get_rng_state()), "scoring drew from the global random generator")


def check_images_are_untouched(case: DetectorCase) -> None:
    """Scoring writes nothing into its input."""
    for score in (case.detector.score, case.detector.objective, case.detector.score_and_objective):
        given = case.images.clone()
        score(given)
        _require(torch.equal(given, case.images), "scoring changed the images it was given")
        _require(not given.requires_grad, "scoring switched on the gradients of the images it was given")
        leaf = case.images.clone().requires_grad_(True)
        score(leaf)
        _require(leaf.grad is None, "scoring left a gradient in the images it was given")


def check_saved_and_loaded_it_gives_the_same_bits(case: DetectorCase) -> None:
    """A newly built detector with the saved state gives bit-equal scores: the state is the whole of it."""
    old = case.detector
    new = type(old)(copy.deepcopy(old.network), shape=old.shape, classes=old.classes, params=old.params)
    with torch.no_grad():
        for value in new.state_dict().values():
            value.zero_()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.safetensors"
        save_tensors(file, old.state_dict())
        new.load_state_dict(load_tensors(file))
    new.eval()
    with torch.no_grad():
        _require(torch.equal(new.score(case.images), _scores(case)), "a saved and loaded detector scores otherwise")


def check_logits_are_those_of_a_classifier(case: DetectorCase) -> None:
    """A classifier has (N, classes) logits; a detector that declares none gives None."""
    with torch.no_grad():
        logits = case.detector.logits(case.images)
    if not case.detector.info.classifier:
        _require(logits is None, "info.classifier is False, and logits are given")
        return
    wanted = (len(case.images), case.detector.classes)
    _require(logits is None or tuple(logits.shape) == wanted, f"logits do not have shape {wanted}")


def check_class_scores_are_one_a_class(case: DetectorCase) -> None:
    """Scores by class, where a detector has them, are (N, classes), finite, and have a finite gradient."""
    with torch.no_grad():
        scores = case.detector.class_scores(case.images)
    if scores is None:
        return
    wanted = (len(case.images), case.detector.classes)
    _require(tuple(scores.shape) == wanted, f"class_scores have shape {tuple(scores.shape)}, not {wanted}")
    _require(bool(scores.isfinite().all()), "class_scores are not all finite")
    _check_margins(case, scores)
    if case.detector.info.differentiable:
        leaf = case.images.clone().requires_grad_(True)
        by_class = case.detector.class_scores(leaf)
        assert by_class is not None
        _require(by_class.requires_grad, "class_scores have no gradient in the images")
        (gradient,) = torch.autograd.grad(by_class.sum(), leaf, allow_unused=True)
        _require(gradient is not None and bool(gradient.isfinite().all()), "class_scores have no finite gradient")


def check_in_distribution_scores_are_higher(case: DetectorCase) -> None:
    """The sign: the mean score of in-distribution images is above that of the OOD images."""
    if case.ood is None:
        return
    inside, outside = float(_scores(case).mean()), float(_scores(case, case.ood).mean())
    _require(
        inside > outside, f"in-distribution images score {inside:g} on average, OOD images {outside:g}: not higher"
    )


def check_bad_images_are_refused(case: DetectorCase) -> None:
    """`forward` answers images of a wrong shape, range or type with an InputError."""
    x = case.images
    bad = {
        "pixels above 1": x + 1.0,
        "pixels below 0": x - 1.0,
        "NaN": torch.full_like(x, torch.nan),
        "one row too few": x[..., :-1, :],
        "a missing batch dimension": x[0],
        "bytes": (x * 255).to(torch.uint8),
        "an empty batch": x[:0],
    }
    for what, images in bad.items():
        try:
            case.detector(images)
        except InputError:
            continue
        raise AssertionError(f"images with {what} are scored, not refused with an InputError")


DETECTOR_CHECKS: tuple[Check, ...] = (
    check_scores_are_one_finite_number_an_image,
    check_scores_differ_between_images,
    check_scores_are_the_same_without_gradients,
    check_scores_do_not_depend_on_batch_mates,
    check_objective_orders_images_as_the_score_does,
    check_gradient_is_the_gradient,
    check_float32_gradient_is_that_of_float64,
    check_gradient_is_finite_everywhere,
    check_model_and_generator_are_untouched,
    check_images_are_untouched,
    check_saved_and_loaded_it_gives_the_same_bits,
    check_logits_are_those_of_a_classifier,
    check_class_scores_are_one_a_class,
    check_in_distribution_scores_are_higher,
    check_bad_images_are_refused,
)


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise AssertionError(sentence)


def _scores(case: DetectorCase, images: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        return case.detector.score(case.images if images is None else images)


def _range(values: Tensor) -> float:
    quartiles = torch.quantile(values.double(), torch.tensor([0.25, 0.75], dtype=torch.float64))
    return float(quartiles[1] - quartiles[0])


def _same(given: Tensor, expected: Tensor, what: str, share: float = SAME) -> None:
    worst, allowed = float((given - expected).abs().max()), share * _range(expected)
    _require(worst <= allowed, f"{what} differ by {worst:g}; allowed is {allowed:g}, {share:g} of their range")


def _check_margins(case: DetectorCase, scores: Tensor) -> None:
    """Scores by class are the same with margins, and the score is that of the class whose margin is above 0."""
    leaf = case.images.clone().requires_grad_(True)
    again, margins = case.detector.class_scores_and_margins(leaf)
    _require(again is not None, "class_scores are given, and class_scores_and_margins gives none")
    assert again is not None
    _same(again.detach(), scores, "class_scores and those of class_scores_and_margins")
    if margins is None:
        return
    _require(margins.shape == scores.shape, f"margins have shape {tuple(margins.shape)}, not {tuple(scores.shape)}")
    _require(bool(((margins > 0).sum(dim=1) <= 1).all()), "of an image more than one class has a margin above 0")
    one = (margins > 0).any(dim=1)  # none where two classes tie
    chosen = scores.gather(1, margins.argmax(dim=1, keepdim=True)).squeeze(1)
    _same(chosen[one], _scores(case)[one], "scores and those of the class whose margin is above 0")
    _require(margins.requires_grad, "margins have no gradient in the images")
    (gradient,) = torch.autograd.grad(margins.sum(), leaf, allow_unused=True)
    _require(gradient is not None and bool(gradient.isfinite().all()), "margins have no finite gradient")


def _directing_gradients(detector: Detector, x: Tensor) -> list[Tensor]:
    """(N, pixels) each: of the objective, and of the classes' own scores, weighted so that none cancels another."""
    leaf = x.clone().requires_grad_(True)
    directing = [detector.score_and_objective(leaf)[1], detector.class_scores(leaf)]
    if directing[1] is not None:
        directing[1] = directing[1] @ torch.linspace(1.0, 2.0, directing[1].shape[1], dtype=x.dtype)
    return [torch.autograd.grad(each.sum(), leaf)[0].flatten(1) for each in directing if each is not None]
