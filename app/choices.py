"""Closed lists of names that a config may choose from, each written once. Imports nothing."""

SOURCES = ("vgg", "torchvision", "timm")  # of networks
RECORDED = "file"  # stands for a source where responses come from a file
LAYERS = tuple(f"conv{number}" for number in range(1, 14))  # of VGG-16, in order
OUTPUTS = ("map", "map_channels_last", "tokens", "vector")  # of a module
AGGREGATIONS = ("unit", "mean", "l2", "max")  # unit: none
CONTRASTS = ("pooled", "each")
LEVELS = ("domains", "categories")  # what a contrast `each` goes over
SCORES = ("smallest", "mean")  # what becomes of a statistic in each contrast
INTERPOLATIONS = ("bilinear", "bicubic", "lanczos", "nearest")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("float32", "float16", "bfloat16")
TASKS = ("face", "object")  # of a dual-task network
MEASURES = tuple(f"{task}_{measure}" for task in TASKS for measure in ("loss", "top1"))
REPLACEMENTS = ("zero", "mean", "resample")  # of a lesioned kernel's map
LESION_TASKS = ("own", "readout")  # the network's own outputs, or a readout fitted on its features
POOLS = ("layer", "layers")  # among whose units the rule `top` ranks: its own, or all asked
RULES = ("above", "top", "p", "fdr_bh", "fdr_by")  # of criteria
DECODERS = ("svm", "logistic", "lda", "nearest_centroid")
PENALISED = ("svm", "logistic")  # decoders that have a penalty
