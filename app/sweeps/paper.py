"""What the panels of the paper's Figure 1 show, and what the paper found."""

# Of each panel: its title, what is shown, with the rules of the claims that their words do not say,
# and the paper's result.
TEXTS = {
    "b": (
        "Selective units",
        "Percent of single units that each metric's criterion selects, by layer; grey: what it "
        "selects when labels are shuffled.",
        "FSI up to 20 %; the other three at most 3 %.",
    ),
    "c": (
        "Selective kernels",
        "The same of kernels, by aggregation. A metric grows with depth where its percentage, the "
        "mean over aggregations, has a rank correlation with depth above 0.5, of four layers or "
        "more; mean gives fewest where its mean over layers and metrics is below that of L2 and of "
        "max.",
        "d′ most sensitive, up to 35 %; mean gives fewer than L2 or max; only FSI grows with "
        "depth.",
    ),
    "d": (
        "Selectivity and lesions",
        "Spearman's r of score and what remains of the face task without the kernel: performance, "
        "or the kernel's place in a greedy search; the deepest layer in full colour. The closest "
        "metric has the lowest r, below 0; alike are metrics whose scores have a high mean rank "
        "correlation.",
        "FSI closest, r = −0.29; the other three alike among themselves.",
    ),
    "e": (
        "Identity decoding",
        "From equally many kernels a metric (N), with the 95 % interval of the mean over folds; "
        "grey: N random kernels, all kernels, chance. Similar are metrics whose paired "
        "differences over identities and folds have 95 % intervals within 5 points of 0: "
        "equivalent.",
        "highly similar across metrics.",
    ),
    "f": (
        "Consistency",
        "Mean over pairs of metrics of their rank correlation over single units, and over kernels, "
        "with its 95 % interval; SEM across pairs is in the table. It grows with depth where its "
        "own rank correlation with depth is above 0.5, of four layers or more.",
        "trained above untrained from conv7 on; grows with depth only when trained.",
    ),
}
