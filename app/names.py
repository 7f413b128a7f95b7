"""The names that findings are logged under. Others' scripts rely on them: each is written here.

`<finding>/<measure>`, as MLflow groups them.
"""

COUNT, PERCENT = "selectivity/count", "selectivity/percent"
UNITS, UNDEFINED = "selectivity/units", "selectivity/undefined"
CRITERION_CURVE, PERCENT_CURVE = "threshold/criterion", "threshold/percent"

CONSISTENCY, CONSISTENCY_SEM = "consistency/mean", "consistency/sem"
SPEARMAN_WITH = "consistency/spearman_"  # followed by the other metric's name
JACCARD_WITH = "agreement/jaccard_"  # followed by the other metric's name
TOP_WITH = "agreement/top10_percent_"  # followed by the other metric's name

LESION_SPEARMAN = {"face": "lesion/spearman", "object": "lesion/spearman_object"}
GREEDY_DROPPED = "lesion/greedy_dropped"

ACCURACY = "decoding/accuracy"
ACCURACY_LOW, ACCURACY_HIGH = "decoding/ci95_low", "decoding/ci95_high"
DECODED_KERNELS, CHANCE = "decoding/kernels", "decoding/chance"
RANDOM_KERNELS, ALL_KERNELS = "decoding/random_kernels", "decoding/all_kernels"

JOBS_FINISHED, JOBS_FAILED = "jobs/finished", "jobs/failed"  # of a sweep

WHOLE = (COUNT, UNITS, UNDEFINED, GREEDY_DROPPED, DECODED_KERNELS)  # whole numbers


def intact(measure: str) -> str:
    """Performance of the intact network: `face_loss`, `face_top1`, `object_loss`, `object_top1`."""
    return f"lesion/intact_{measure}"


def selection_lesioned(task: str) -> str:
    """Accuracy of a task without all that the criterion selects."""
    return f"lesion/selection_{task}_top1"


def random_lesioned(task: str) -> str:
    """Accuracy of a task without as many random kernels, the mean over draws."""
    return f"lesion/selection_random_{task}_top1"


def top_lesioned(task: str) -> str:
    """The curve of a task's accuracy over the percentage of highest-ranked kernels lesioned."""
    return f"lesion/top_{task}_top1"


def after_search(task: str, measure: str) -> str:
    """What remains of a measure at the end of a task's greedy search."""
    return f"lesion/greedy_{task}_search_{measure}"
