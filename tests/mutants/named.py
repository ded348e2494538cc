"""`python -m tests.mutants.named [WORD ...]`: mistakes that once passed every test, each tried again.

Each would make a published number wrong. Where WORDs are given, only mistakes whose names hold one of them are tried.
Exit code: 0 where every one is noticed, 1 where one is not, 2 where a mistake no longer fits the code.
"""

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .running import FAILED, copied, preload, run_tests

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 600.0
"""Seconds for the tests of one mistake."""


@dataclass(frozen=True)
class Named:
    """One mistake.

    Attributes:
        name: What is wrong, in a few words.
        file: Relative to the root of the repository.
        old: What stands there, once.
        new: What is put in its place.
        tests: The test files that must notice.
        only: What the names of the tests hold that are run, as pytest's `-k` takes it; empty for all of them.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    only: str = ""

    def fits(self, root: Path = ROOT) -> bool:
        """Whether the file holds the text that is replaced, once."""
        return (root / self.file).read_text().count(self.old) == 1


NAIVE = ("tests/training/test_recipes_against_naive.py",)
SEEN = ("tests/training/test_what_training_sees.py",)
APART = ("tests/datasets/test_sets_apart.py",)
ATTACKERS = ("tests/evaluation/test_what_attackers_see.py",)
RECIPES = {
    "gat": "GAT", "committee": "CommitteeGAT", "outlier_exposure": "OutlierExposure", "aoe": "AOE", "sdim": "SDIM",
    "glow": "Glow", "ccu": "CCU", "jem": "JEM", "ensemble": "EnsembleClassifier", "acet": "ACET", "good": "GOOD",
    "minimax": "MinimaxGAT", "gbz": "GBZ", "confident": "Confident",
    "likelihood": "Glow", "pixelcnn": "PixelCNN",
}  # fmt: skip
ATTACKS = ("tests/threat_models/test_what_survived_mutants.py",)


def _recipe(name: str, module: str, old: str, new: str) -> Named:
    return Named(name, f"bench/training/{module}.py", old, new, NAIVE, f"[{RECIPES[module]}-")


def _attack(name: str, module: str, old: str, new: str) -> Named:
    return Named(name, f"bench/threat_models/{module}.py", old, new, ATTACKS)


NAMED = (
    Named("the training set is the test set", "datasets/digits.yaml", """train:
  source: digits
  args: {split: train}
  digest: 026718357a50f6caac2e07638ef09dea34708479d4b068a2d8f5666abae03177
""", """train:
  source: digits
  args: {split: test}
  digest: 2dabedd3dd1004d6b306c25182406d983c7a9b3522a47d5bdec27e9ac377aaab
""", APART),
    Named("a fit sees test images in place of calibration images", "bench/datasets/track.py",
          'TrainingData(self.set("train"), self.set("calibration")', 'TrainingData(self.set("train"), self.set("test")',
          APART),
    Named("training images are test images", "bench/datasets/track.py",
          'TrainingData(self.set("train"), ', 'TrainingData(self.set("test"), ', APART),
    Named("a recipe's figures are those of training images", "bench/training/classifier.py",
          "batches(self.data.calibration, 256", "batches(self.data.train, 256", SEEN),
    Named("guides come from the test set", "bench/evaluation/orders.py",
          "images.test if order.threat.reads_test else images.calibration", "images.test", ATTACKERS),
    Named("the pool's labels are those of test images", "bench/evaluation/orders.py",
          "pool_labels=pool.labels", "pool_labels=images.test.labels", ATTACKERS),
    Named("the pool of a cell is its test set", "bench/evaluation/images.py",
          "return self.calibration.pixels()", "return self.test.pixels()", ATTACKERS),
    Named("distances are those to test images", "bench/evaluation/images.py",
          "pool, ood = self.calibration.images.numpy()", "pool, ood = self.test.images.numpy()", ATTACKERS),
    Named("calibration images are test images", "bench/evaluation/images.py",
          "calibration=found[CALIBRATION]", "calibration=found[TEST]", ATTACKERS),
    Named("thresholds come from test images", "bench/evaluation/cell.py",
          "scored[fitted].scores, scored[fitted].predicted", "scored[TEST].scores, scored[TEST].predicted", ATTACKERS),
    Named("rejection percentiles come from test images", "bench/evaluation/cell.py",
          "        fitted=fitted,", "        fitted=TEST,", ATTACKERS),
    _recipe("GAT never attacks", "gat", "for _ in range(k):", "for _ in range(0):"),
    _recipe("GAT trains without its ascent", "gat",
            "self.ascend(augmented_outliers(outside, args, generator), k)",
            "augmented_outliers(outside, args, generator)"),
    _recipe("GAT trains on calibration images", "gat", "pick(self.data.train,", "pick(self.data.calibration,"),
    _recipe("GAT's learning rate is reversed", "gat", "done = number / self.total_steps",
            "done = 1 - number / self.total_steps"),
    _recipe("GAT attacks no outliers from K = 1 on", "gat", "k = self.k_at(number)",
            "k = self.k_at(number) * 0"),
    _recipe("GAT ascends one step at the most", "gat", "k = self.k_at(number)", "k = min(self.k_at(number), 1)"),
    _recipe("GAT descends", "gat", "self.args.step_size * gradient / length",
            "-self.args.step_size * gradient / length"),
    _recipe("a committee is not attacked", "committee", "attacked = self.ascend(attacked, eps)", "pass"),
    _recipe("a committee's steps do not grow", "committee", "self.args.step_size * eps / self.args.eps",
            "self.args.step_size"),
    _recipe("a committee takes one step of eight", "committee", "self.args.ascent_steps if eps > 0 else 0",
            "1 if eps > 0 else 0"),
    _recipe("a committee's radius does not grow", "committee",
            "self.args.eps * min(1.0, number / max(1.0, self.args.growth * self.args.steps))", "self.args.eps"),
    _recipe("Outlier Exposure ignores lambda", "outlier_exposure",
            "self.args.weight * self.exposure", "self.exposure"),
    _recipe("AOE does not attack", "aoe", "size * rise.sign()", "0.0 * rise.sign()"),
    _recipe("AOE adds no noise", "aoe", "self.args.eps * noise", "0.0 * noise"),
    _recipe("ACET does not attack", "acet", "for _ in range(self.args.ascents):", "for _ in range(0):"),
    _recipe("ACET ignores lambda", "acet", "classification + args.weight * confidence", "classification + confidence"),
    _recipe("ACET takes the last point of its search", "acet", "better = confidence > most",
            "better = torch.ones_like(most, dtype=torch.bool)"),
    _recipe("GOOD takes every outlier in its ball", "good", "if guaranteed == len(outliers):", "if True:"),
    _recipe("the balls of GOOD do not grow", "good", "self.args.eps * self.grown(number, self.args.eps_ramp)",
            "self.args.eps"),
    _recipe("the samples of Algorithm 2 stay where they are", "minimax", "if left == 0:", "if False:"),
    _recipe("GBZ ignores beta", "gbz", "self.args.beta * parts.prior_ratio", "parts.prior_ratio"),
    _recipe("a GAN does not look for what confuses the classifier", "confident", "fooling + beta * self.surprise(made)",
            "fooling"),
    _recipe("a classifier is sure of what a GAN makes", "confident", "classification + beta * confidence",
            "classification"),
    _recipe("SDIM swaps joint and marginal pairs", "sdim", "jensen_shannon_bound(joint, marginal)",
            "jensen_shannon_bound(marginal, joint)"),
    _recipe("SDIM's representation is detached from the critic", "sdim", "self.critic(local, representation, turn)",
            "self.critic(local, representation.detach(), turn)"),
    _recipe("SDIM's maps are detached from the critic", "sdim", "self.critic(local, representation, turn)",
            "self.critic(local.detach(), representation, turn)"),
    _recipe("SDIM's critic is on the first layer", "sdim", "return maps[-1],", "return maps[0],"),
    _recipe("SDIM ignores its margin K", "sdim", "likelihood_margins(log_likelihoods, y, self.args.margin)",
            "likelihood_margins(log_likelihoods, y, 10.0)"),
    _recipe("Glow ignores the weight of classification", "likelihood",
            "density + self.args.classification * classification", "density"),
    _recipe("Glow's gradient is not clipped", "likelihood",
            "torch.nn.utils.clip_grad_norm_(self.detector.parameters(), self.args.clip)", "pass"),
    _recipe("PixelCNN++ is trained on the classes of others", "pixelcnn", "conditional.gather(1, labels[:, None])",
            "conditional"),
    _recipe("CCU's mixtures learn at the network's rate", "ccu", "self.args.mixture_lr * lr / self.args.lr", "lr"),
    _recipe("JEM's chains do not move", "jem", "steps=args.sgld_steps", "steps=0"),
    _recipe("an ensemble trains one member", "ensemble", "for member in self.members:",
            "for member in self.members[:1]:"),
    _attack("boundary walks start from images that are not accepted", "objectives",
            "self.context.loss, self.context.goal is Goal.ACCEPT", "self.context.loss, False"),
    _attack("targeted boundary walks do not ask for acceptance", "boundary",
            "if self.untargeted.context.goal is Goal.ACCEPT:", "if False:"),
    _attack("the MAPE is that of the last iterate", "matching",
            "torch.where(closer, relative_error(features, target), rows.mape[batch])",
            "relative_error(features, target)"),
    _attack("the MAPE is that of the last start", "matching",
            "torch.fmin(self.mape[rows.sample], rows.mape)", "rows.mape"),
    _attack("the L2 projection's fallback slope is another", "geometry", "torch.where(slope > 0, slope, s / u)",
            "torch.where(slope > 0, slope, s * u)"),
    _attack("an L2 start lies on the other side", "geometry", "torch.addcmul(x, normal, scale)",
            "torch.addcmul(x, normal, -scale)"),
    _attack("an L-infinity start lies on the other side", "geometry",
            "(context.uniform(ids, 2 * draw, shape) * 2.0 - 1.0)",
            "(1.0 - 2.0 * context.uniform(ids, 2 * draw, shape))"),
)  # fmt: skip


def main(words: list[str]) -> int:
    """Try each mistake in a copy of the tree."""
    chosen = [named for named in NAMED if not words or any(word in named.name for word in words)]
    missed = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as work, copied(ROOT, Path(work) / "tree") as tree:
        if gone := [named for named in chosen if not named.fits(tree)]:
            say("\n".join(f"{named.file} no longer holds, once: {named.old}  ({named.name})" for named in gone))
            return 2
        preload()
        for number, named in enumerate(chosen):
            path, begin = tree / named.file, time.monotonic()
            whole = path.read_text()
            path.write_text(whole.replace(named.old, named.new))
            try:
                outcome = run_tests(
                    tree,
                    ["-x", *(["-k", named.only] if named.only else []), *named.tests],
                    Path(work) / f"{number}.log",
                    LIMIT,
                )
            finally:
                path.write_text(whole)
            missed += outcome != FAILED
            say(f"{outcome:<9}{time.monotonic() - begin:6.1f} s  {named.name}")
    say(f"\n{len(chosen)} mistakes, {len(chosen) - missed} noticed.")
    return int(missed > 0)


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
