"""What a cell is once it has been computed: plain values, read by the store, the tables and the checks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from bench.cards.detector import ThresholdSource
from bench.cards.threat import Goal, Loss, Norm, Side

if TYPE_CHECKING:  # pandas takes half a second, and a table needs no samples
    import pandas as pd
    from numpy.typing import NDArray

FORMAT = 3
"""Version of the cells' layout; part of every key."""

SAMPLE_COLUMNS = (
    "id",  # int64: stable sample id
    "set",  # str: "test" for the ID test images, "calibration", or an OOD set's name
    "index",  # int64: position in the whole set
    "label",  # int64: class label, -1 where there is none
    "predicted",  # int64: class that the classifier inside predicts for the clean image, -1 without one
    "clean_score",  # float32, or float64 where the detector gives that
    "score",  # the same: after the attack, re-scored afresh; equals clean_score where the set was not attacked
    "norm",  # float32: distance from the clean image in the budget's norm
    "gradients",  # int64
    "queries",  # int64
    "last_score",  # the same: of the attack's last iterate, scored afresh; equals score where there is none
    "attacked_predicted",  # int64: class that the classifier inside predicts for the attacked image
    "status",  # str: bench.threat_models.base.Status, "" where the set was not attacked
)


ARRAYS = (
    "trace",  # (rows of samples, T <= 64) as the scores: best score so far along the attack; NaN where none ran
    "images",  # (M, C, H, W) float32: attacked images
    "image_rows",  # (M,) int64: the rows of samples that they belong to
    "plain_images",  # (K, C, H, W) float32: of audited images of a nested sweep, what the others' form came to
    "plain_rows",  # (K,) int64: the rows of samples that they belong to
)
"""Arrays that a cell may hold beside its samples. All attacked images are kept where nothing stopped early, and in
nested sweeps; else the first few of every set, for a gallery."""


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Aurocs(_Value):
    """AUROC before and after the attack, each with its standard error and its 95 % interval."""

    clean_auroc: float
    clean_se: float
    clean_low: float
    clean_high: float
    auroc: float
    se: float
    low: float
    high: float


class SetMetrics(_Aurocs):
    """Figures of one OOD set against the ID test images."""

    n_id: int
    n_ood: int
    conservative_auroc: float  # ties count against the defender
    aupr_in: float
    aupr_out: float
    fpr95: float
    clean_fpr95: float
    detection_rate: float  # share of OOD images below the threshold in force for them, one of `CellMeta.thresholds`
    ceiling: float | None  # AUROC that no detector can exceed at this radius; None without a radius
    reachable: float | None  # share of OOD images that can be turned into an ID calibration image within eps
    guaranteed_auroc: float | None = None  # every OOD score raised to its certified bound; None without a certificate
    bits_per_dim: float | None = None  # mean over the set as it is; None without a density, and in cells of attacks
    counts: bool  # whether the set enters the mean
    gradients: int
    queries: int
    figures: dict[str, float] = {}  # means of what the threat measured, such as "mape", over the images that have it


class MeanMetrics(_Aurocs):
    """Mean over the natural OOD sets, its standard error with the shared ID samples taken into account."""

    sets: tuple[str, ...]
    fpr95: float
    ceiling: float | None
    reachable: float | None
    guaranteed_auroc: float | None = None


class RejectionMetrics(_Value):
    """Classification with rejection where every class has a threshold at one percentile."""

    percentile: float
    source: ThresholdSource
    correct_only: bool
    thresholds: dict[int, float]  # class -> threshold; a class of which there was no such image has none
    rejection_rate: float  # share of the ID test images that are rejected
    accuracy: float | None  # of the accepted ones; None where all are rejected
    detection_rates: dict[str, float]  # OOD set -> mean over the classes of the share below the class's threshold


class FoolAtEps(_Value):
    """What came of fooling the classifier within one radius.

    Shares are of the ID test images that the classifier gets right as they are, unless another base is named.
    """

    eps: float | None  # None: anywhere in the box
    adversarial_accuracy: float  # share of all ID test images that are still classified correctly
    misclassified: float
    undetected: float  # misclassified and accepted
    detection_rate: float | None  # share of the misclassified that are rejected; None where none is misclassified
    auroc: float | None  # clean correctly classified images against the misclassified ones; None without any
    se: float | None
    low: float | None = None  # its 95 % interval
    high: float | None = None
    median_norm: float | None  # of the misclassified; None without any
    by_percentile: dict[str, float] = {}  # percentile of the class thresholds -> undetected


class FoolMetrics(_Value):
    """A `fool` cell: how often ID images were misclassified, and accepted by the detector."""

    goal: Goal
    loss: Loss
    n: int  # ID test images
    attacked: int  # of them classified correctly as they are
    curve: tuple[FoolAtEps, ...]  # by radius, ascending


class NearestAtEps(_Value):
    """How many images are across the detector's threshold within one radius."""

    eps: float | None  # None: anywhere in the box
    across: float  # share of OOD images that are accepted, or of ID images that are rejected


class NearestFigures(_Value):
    """How far the images of one set have to be moved until they are across the detector's threshold."""

    n: int
    counts: bool  # whether the set enters the mean
    across: float  # share that is as it is
    median_radius: float | None  # of all images, 0 where one is across as it is; None where fewer than half ever are
    curve: tuple[NearestAtEps, ...]  # by radius, ascending
    gradients: int
    queries: int


class NearestMetrics(_Value):
    """A cell of an attack that looks for the nearest image across a threshold: it has radii, and no AUROC."""

    threshold: str  # one of `CellMeta.thresholds`
    sets: dict[str, NearestFigures]  # by attacked set
    mean: NearestFigures | None  # over the sets that count; None where none does


class BetweenMetrics(_Value):
    """Paths between accepted, correctly classified ID images of different classes."""

    paths: int
    alphas: tuple[float, ...]
    score: tuple[float, ...]  # mean over the paths at every alpha
    accepted: tuple[float, ...]  # share of the paths whose image is accepted at every alpha
    confidence_from: tuple[float, ...]  # mean probability of the class that the path leaves
    confidence_to: tuple[float, ...]  # and of the one that it goes to
    accepted_throughout: float
    midpoint_auroc: float  # clean ID test images against mid-points
    midpoint_se: float
    midpoint_low: float | None = None  # its 95 % interval
    midpoint_high: float | None = None


class FullBudgetFigures(_Value):
    """An AUROC at the full budget, estimated from an audit; the interval is over which images were audited."""

    auroc: float
    low: float
    high: float


class EvidenceFigures(_Value):
    """Why most images of a cell were attacked with less than the full budget."""

    tolerance: float
    audit: float  # share of the images of each set that were to be audited
    audited: int  # images with the full budget
    attacked: int  # all images of the attacked side
    params: dict[str, int]  # what the others were attacked with, over the threat's parameters; {}: the full budget too
    full_gradients: int  # that the full budget would have taken, by those that the audited images took
    sets: dict[str, FullBudgetFigures] = {}  # by OOD set; empty where every image had the full budget
    mean: FullBudgetFigures | None = None


class CellMeta(_Value):
    """Everything of a cell but its samples."""

    format: int = FORMAT
    key: str
    detector: str
    detector_hash: str
    weights_sha256: tuple[str, ...]
    threat: str
    source_hash: str  # of the code that computed the cell
    threat_hash: str
    threat_params: dict[str, object]
    norm: Norm | None
    eps: float | None
    side: Side
    track: str
    track_hash: str
    set_digests: dict[str, str]
    limit: int | None
    seed: int
    micro_batch: int
    early_stop: bool
    id_accuracy: float | None
    bits_per_dim: float | None = None  # mean over the ID test images; None without a density, and in cells of attacks
    iqr: float  # of the clean scores of the ID test images
    asked_twice: float | None = (
        None  # largest difference of two scores of one image, in IQRs; None where declared random
    )
    stop_high: float | None  # target of images whose score is raised, None where none was
    stop_low: float | None
    thresholds: dict[str, float]  # "SOURCE_tpr95" at a recall of 95 %, and with "/CLASS" where classes have their own
    sets: dict[str, SetMetrics]
    mean: MeanMetrics | None  # None where the track has no natural OOD set
    groups: dict[str, MeanMetrics] = {}  # means of the groups that the track's card names, beside the main one
    forms: dict[str, str] = {}  # of sets whose card accepts several forms: in which one they were read
    rejection: tuple[RejectionMetrics, ...] = ()  # by percentile; in clean cells where the card asks for it
    fool: FoolMetrics | None = None  # on side fool
    between: BetweenMetrics | None = None  # on side between
    nearest: NearestMetrics | None = None  # of a threat with min_norm on the sides evade and alarm; sets is empty then
    evidence: EvidenceFigures | None = None  # where not every image was to have the full budget
    search: str = ""  # what was asked of a copy for the first half of the steps, "auto" or "bf16 compiled"; the notes
    # say which copy was taken; "" where none was asked for
    nested: bool = (
        False  # one of several radii, of which the larger ones go on from the best points of the smaller ones
    )
    members: dict[str, float] = {}  # of a worst case: what each member alone came to, in the figure that ranks
    needs: tuple[str, ...] = ()  # keys of the cells that this one was made from
    left_out: dict[str, str] = {}  # what else the threat's card names, members or sources: why it cannot be run here
    failed_needs: dict[str, str] = {}  # the same that failed, and why: the attack is weaker than it was to be
    without: tuple[str, ...] = ()  # OOD sets of the track that the run left out
    leaves_out: tuple[str, ...] = ()  # parts of the detector that the attack does not see: it is not adaptive
    draws: int = 0  # noise draws over which the scores of a random detector are averaged
    statuses: dict[str, int]
    gradients: int
    queries: int
    seconds: float
    device: str
    versions: dict[str, str]
    notes: tuple[str, ...] = ()
    samples_sha256: str = ""  # of the Parquet file, filled in by the store
    arrays_sha256: str = ""  # of the arrays' file, "" where the cell holds none


@dataclass(frozen=True)
class Cell:
    """One detector x one threat x one eps x one track x one seed."""

    meta: CellMeta
    samples: "pd.DataFrame"  # columns: SAMPLE_COLUMNS, and after them the threat's own figures such as "mape"
    arrays: "Mapping[str, NDArray[Any]]" = field(default_factory=dict)  # see ARRAYS
