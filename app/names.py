"""The names that findings are logged under. Others' scripts rely on them: each is written here.

`<finding>/<measure>`, as MLflow groups them.
"""

COUNT, PERCENT = "selectivity/count", "selectivity/percent"
UNITS, UNDEFINED = "selectivity/units", "selectivity/undefined"
CRITERION_CURVE, PERCENT_CURVE = "threshold/criterion", "threshold/percent"
# The same by a name of the metric's own, by the scale of its rule: the axis of a chart of its own.
CRITERION_OF = {
    "linear": "threshold/criterion_{metric}",
    "log": "threshold/log10_criterion_{metric}",
}
POSITION = ("channel", "row", "column")  # of a unit in its layer's maps, as scores.parquet has it
# What responses are of, as tables' column `trained` has it.
TRAINED = {True: "trained", False: "untrained", "": "from a file"}
DEPTH = "layer/depth"  # of the layer in its network, from 1

CONSISTENCY, CONSISTENCY_SEM = "consistency/mean", "consistency/sem"
SPEARMAN_WITH = "consistency/spearman_"  # followed by the other metric's name
JACCARD_WITH = "agreement/jaccard_"  # followed by the other metric's name
TOP_WITH = "agreement/top10_percent_"  # followed by the other metric's name

CI95 = ("_ci95_low", "_ci95_high")  # the ends of the 95 % interval of the number so named before
RELIABILITY = "reliability/score"
RELIABILITY_REPETITIONS = "reliability/repetitions"  # from halves of repetitions, not of stimuli
SELECTION_JACCARD, REPLICATION = "reliability/selection_jaccard", "reliability/replication"
CROSSVALIDATED = "crossvalidated/score"
NULL_PERCENT, NULL_P95, NULL_P = "null/percent", "null/percent_p95", "null/p"
MATCHED_THRESHOLD, MATCHED_PERCENT = "matched/threshold", "matched/percent"
CEILING_WITH = "consistency/ceiling_"  # followed by the other metric's name
DISATTENUATED_WITH = "consistency/disattenuated_"  # followed by the other metric's name

LESION_SPEARMAN = {"face": "lesion/spearman", "object": "lesion/spearman_object"}
LESION_RELIABILITY = {"face": "lesion/reliability", "object": "lesion/reliability_object"}
LESION_CEILING = {"face": "lesion/ceiling", "object": "lesion/ceiling_object"}
# Of effects that are estimated with exact lesions of a sample, and the points used.
ATTRIBUTION_SPEARMAN = {
    "face": "lesion/attribution_spearman", "object": "lesion/attribution_spearman_object",
}  # fmt: skip
ATTRIBUTION_POINTS = "lesion/attribution_points"
INTACT = "lesion/intact_{measure}"  # face_loss, face_top1, object_loss, object_top1
# Without all that the criterion selects, in the layer or in several, and as many at random of each,
# mean over draws.
SELECTION_LESIONED = {
    "selection": "lesion/selection_{task}_top1",
    "random_selection": "lesion/selection_random_{task}_top1",
    "together": "lesion/together_{task}_top1",
    "random_together": "lesion/together_random_{task}_top1",
}
# The same with a readout that is fitted again on the lesioned network.
RECOVERED = {"selection": "lesion/selection_refit_{task}_top1",
             "random_selection": "lesion/selection_random_refit_{task}_top1"}  # fmt: skip
TOP_LESIONED = "lesion/top_{task}_top1"  # a curve over the percentage of the highest-ranked
GREEDY_DROPPED = "lesion/greedy_dropped"
AFTER_SEARCH = "lesion/greedy_{task}_search_{measure}"  # what remains at a greedy search's end

ACCURACY = "decoding/accuracy"
ACCURACY_LOW, ACCURACY_HIGH = "decoding/ci95_low", "decoding/ci95_high"
DECODED_KERNELS, CHANCE = "decoding/kernels", "decoding/chance"
RANDOM_KERNELS, ALL_KERNELS = "decoding/random_kernels", "decoding/all_kernels"
ACCURACY_CORRECTED = "decoding/accuracy_corrected"  # followed by CI95
ACCURACY_IDENTITIES = "decoding/accuracy_identities"  # followed by CI95
DIFFERENCE = "decoding/difference_"  # followed by what is subtracted: a metric, random_kernels
DECODED, DECODED_FIXED = "decoding/", "decoding/fixed_"  # all of these, of so many kernels as asked
FIXED_KERNELS = f"{DECODED_FIXED}kernels"

SPECIFICATIONS = "multiverse/specifications"
EXPLAINED = "multiverse/{outcome}_{choice}"  # the share of an outcome's variance, 0 … 1

JOBS_FINISHED, JOBS_FAILED = "jobs/finished", "jobs/failed"  # of a sweep

WHOLE = (  # numbers
    COUNT, UNITS, UNDEFINED, ATTRIBUTION_POINTS, GREEDY_DROPPED, DECODED_KERNELS, FIXED_KERNELS,
    DEPTH, SPECIFICATIONS,
)  # fmt: skip


def name_units(aggregation: str) -> str:
    """Name what is scored, in the plural."""
    return "units" if aggregation == "unit" else "kernels"
