"""The steps of a run, each done once.

A step's result is stored under the content of what it came from: weights, images, preprocessing,
settings and the source code of the step. Jobs that differ in metric or threshold alone find it
there. torch is imported when a forward pass is due, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from app import metrics, models
from app.config import Config, Metric
from app.findings import decoding
from app.metrics import Scores
from app.metrics.contrast import Contrast, contrast
from app.record import figures
from app.record.cache import Cache, array_digest, code_digest, file_digest
from app.stimuli import images as image_files
from app.stimuli import synthetic
from app.stimuli.images import Images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from app.models.vgg import DualTaskVGG

# The source files whose change makes stored results of a step outdated.
DRAWING = tuple(
    f"app.stimuli.{name}"
    for name in ("synthetic", "drawing", "faces", "bodies", "characters", "places", "objects")
)
SCORING = ("app.metrics", "app.metrics.contrast", "app.metrics.moments")
FORWARD = ("app.responses", "app.models.vgg", "app.stimuli.images")
EXTREMES = 3  # units at either end of a metric's ranking whose responses are kept for the figures


@dataclass(frozen=True)
class Localizer:
    """The stimuli with the domain of each category."""

    images: Images
    domains: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Scored:
    """A metric's scores over a layer, and the responses of the units at both ends."""

    scores: Scores
    extremes: NDArray[np.int64]  # (units kept,), highest score first
    responses: NDArray[np.float32]  # (images, units kept)


@contextmanager
def progress_bar(what: str, total: int, unit: str = "image") -> Iterator[Callable[[int], object]]:
    """A bar on standard error, on terminals only."""
    with tqdm(total=total, desc=what, unit=unit, disable=None, leave=False) as bar:
        yield bar.update


# ---------------------------------------------------------------------------------- stimuli


def localizer(config: Config, cache: Cache) -> Localizer:
    """The images of the target and of the domains it is contrasted with."""
    settings = config.stimuli
    if settings.name == "synthetic":
        images: Images = _drawn(
            cache,
            {
                "what": "localizer",
                "seed": settings.seed,
                "images_each": settings.images_per_category,
                "size": settings.size,
            },
            lambda progress: synthetic.localizer(
                settings.seed,
                settings.images_per_category,
                size=settings.size,
                progress=progress,
            ),
            total=len(synthetic.CATEGORIES) * settings.images_per_category,
        )
    else:
        root = settings.root or ""
        named = [category for members in (settings.domains or {}).values() for category in members]
        images = image_files.from_folder(
            root,
            named or None,
            what="category",
            setting="stimuli.root",
            leave_out=settings.leave_out,
        )
    domains = settings.domains or {category: [category] for category in images.labels}
    return Localizer(images, {domain: tuple(members) for domain, members in domains.items()})


def unfamiliar_identities(config: Config, cache: Cache) -> Images:
    """The faces whose identity is decoded."""
    settings = config.identities
    if settings.name == "folder":
        return image_files.from_folder(
            settings.root or "", None, what="identity", setting="identities.root"
        )
    return _drawn(
        cache,
        {
            "what": "identities",
            "seed": settings.seed,
            "count": settings.count,
            "images_each": settings.images_each,
            "size": settings.size,
        },
        lambda progress: synthetic.identities(
            settings.seed,
            settings.count,
            settings.images_each,
            split="decoding",
            size=settings.size,
            progress=progress,
        ),
        total=settings.count * settings.images_each,
    )


def own_classes(config: Config, cache: Cache) -> tuple[Images, NDArray[np.int64]]:
    """Held-out images of a synthetic network's own classes, and the right output of each."""
    settings, faces = config.lesion, config.model.face_classes
    objects = config.model.outputs - faces

    def draw(progress: synthetic.Progress) -> tuple[NDArray[np.uint8], list[str]]:
        face_pixels, face_labels = synthetic.identities(
            settings.seed,
            faces,
            settings.images_per_identity,
            split="network",
            first_image=synthetic.HELD_OUT,
            size=settings.size,
            progress=progress,
        )
        object_pixels, object_labels = synthetic.objects(
            settings.seed,
            settings.images_per_object,
            first_image=synthetic.HELD_OUT,
            size=settings.size,
            categories=synthetic.OBJECT_CATEGORIES[:objects],
            progress=progress,
        )
        return np.concatenate([face_pixels, object_pixels]), face_labels + object_labels

    drawn = _drawn(
        cache,
        {
            "what": "own classes",
            "seed": settings.seed,
            "faces": faces,
            "objects": objects,
            "images_per_identity": settings.images_per_identity,
            "images_per_object": settings.images_per_object,
            "size": settings.size,
        },
        draw,
        total=faces * settings.images_per_identity + objects * settings.images_per_object,
    )
    outputs = {label: output for output, label in enumerate(dict.fromkeys(drawn.labels))}
    return drawn, np.array([outputs[label] for label in drawn.labels], dtype=np.int64)


def _drawn(
    cache: Cache,
    ingredients: Mapping[str, Any],
    draw: Callable[[synthetic.Progress], tuple[NDArray[np.uint8], list[str]]],
    *,
    total: int,
) -> Images:
    """Drawn images, stored; `total` of them, for the progress bar."""

    def compute() -> dict[str, NDArray[Any]]:
        with progress_bar(f"drawing {ingredients['what']}", total) as progress:
            pixels, labels = draw(progress)
        return {"pixels": pixels, "labels": np.array(labels)}

    entry = cache.get("stimuli", {**ingredients, "code": code_digest(*DRAWING)}, compute)
    return image_files.drawn(
        entry["pixels"], entry["labels"].tolist(), f"drawn, seed {ingredients['seed']}"
    )


# -------------------------------------------------------------------------------- responses


def kernel_responses(
    config: Config,
    cache: Cache,
    network: Callable[[], DualTaskVGG],
    images: Images,
    names: Sequence[str],
    what: str,
) -> list[NDArray[np.float32]]:
    """Responses (images, kernels) under the names `<layer>/<aggregation>`.

    One forward pass serves all layers and aggregations.
    """

    def compute() -> Mapping[str, NDArray[Any]]:
        from app import responses

        with progress_bar(what, len(images)) as progress:
            return responses.by_kernel(
                network(),
                images,
                models.preprocessing(config.model),
                batch_size=config.batch_size,
                device=responses.choose_device(config.device),
                progress=progress,
            )

    entry = cache.get("responses", _forward_ingredients(config, images), compute, names=names)
    return [entry[name] for name in names]


def _forward_ingredients(config: Config, images: Images) -> dict[str, Any]:
    return {
        **models.fingerprint(config.model),
        "images": images.digest,
        "device": config.device,
        "code": code_digest(*FORWARD),
    }


# ----------------------------------------------------------------------------------- scores


def contrasts(
    localizer: Localizer, target: str, compared: Mapping[str, Metric]
) -> dict[str, Contrast]:
    """The contrast that each metric asks for."""
    return {
        name: contrast(
            localizer.images.labels,
            localizer.domains,
            target,
            kind=metric.contrast,  # type: ignore[arg-type]  # checked with the config
            over=metric.over,  # type: ignore[arg-type]
        )
        for name, metric in compared.items()
    }


def scores(
    config: Config,
    cache: Cache,
    network: Callable[[], DualTaskVGG],
    localizer: Localizer,
    compared: Mapping[str, Metric],
) -> dict[str, Scored]:
    """The scores of every compared metric over the layer's units or kernels."""
    layer, aggregation = config.layer.name, config.aggregation.name
    asked = contrasts(localizer, config.target, compared)

    def blocks() -> Iterator[NDArray[np.float32]]:
        if aggregation == "unit":
            yield from _unit_blocks(config, network, localizer.images)
        else:
            yield from kernel_responses(
                config, cache, network, localizer.images, [f"{layer}/{aggregation}"], "stimuli"
            )

    def compute() -> Mapping[str, NDArray[Any]]:
        found: dict[str, list[Scored]] = {name: [] for name in compared}
        first = 0
        for block in blocks():
            for name, metric in compared.items():
                score = metrics.load(name)(block, asked[name], **metric.options)
                found[name].append(_with_extremes(score, block, first))
            first += block.shape[1]
        arrays: dict[str, NDArray[Any]] = {}
        for name, parts in found.items():
            whole = _joined(parts)
            arrays |= {f"{name}/{key}": value for key, value in _to_arrays(whole).items()}
        return arrays

    entry = cache.get(
        "scores",
        {
            **_forward_ingredients(config, localizer.images),
            "layer": layer,
            "aggregation": aggregation,
            "target": config.target,
            "domains": {domain: list(members) for domain, members in localizer.domains.items()},
            "metrics": {
                name: {
                    "contrast": metric.contrast,
                    "over": metric.over,
                    "options": dict(metric.options),
                }
                for name, metric in compared.items()
            },
            "scoring": code_digest(
                "app.steps", *SCORING, *(f"app.metrics.{name}" for name in compared)
            ),
        },
        compute,
    )
    return {
        name: _from_arrays({key: entry.get(f"{name}/{key}") for key in ARRAYS}) for name in compared
    }


ARRAYS = ("score", "statistic", "p", "extremes", "responses")


def _unit_blocks(
    config: Config, network: Callable[[], DualTaskVGG], images: Images
) -> Iterator[NDArray[np.float32]]:
    from app import responses

    layer = config.layer.name
    passes = responses.forward_passes(network(), layer, len(images))
    with progress_bar(f"{layer} units", passes * len(images)) as progress:
        yield from responses.by_unit(
            network(),
            layer,
            images,
            models.preprocessing(config.model),
            batch_size=config.batch_size,
            device=responses.choose_device(config.device),
            progress=progress,
        )


def _with_extremes(scores: Scores, block: NDArray[np.float32], first: int) -> Scored:
    """Keep the responses of the block's units that may be the layer's first or last."""
    ends = _ends(scores.score)
    return Scored(scores, ends + first, block[:, ends])


def _joined(parts: Sequence[Scored]) -> Scored:
    """Blocks of units side by side."""
    scores = Scores(
        score=np.concatenate([part.scores.score for part in parts]),
        statistic=np.concatenate([part.scores.statistic for part in parts], axis=1),
        p=None
        if parts[0].scores.p is None
        else np.concatenate([part.scores.p for part in parts if part.scores.p is not None], axis=1),
    )
    extremes = np.concatenate([part.extremes for part in parts])
    responses = np.concatenate([part.responses for part in parts], axis=1)
    keep = _ends(scores.score[extremes])
    return Scored(scores, extremes[keep], responses[:, keep])


def _ends(score: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the highest and the lowest defined scores, highest first."""
    defined = np.flatnonzero(np.isfinite(score))
    ranked = defined[np.argsort(-score[defined], kind="stable")]
    if len(ranked) <= 2 * EXTREMES:
        return ranked
    return np.concatenate([ranked[:EXTREMES], ranked[-EXTREMES:]])


def _to_arrays(scored: Scored) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "score": scored.scores.score,
        "statistic": scored.scores.statistic,
        "extremes": scored.extremes,
        "responses": scored.responses,
    }
    if scored.scores.p is not None:
        arrays["p"] = scored.scores.p
    return arrays


def _from_arrays(arrays: Mapping[str, NDArray[Any] | None]) -> Scored:
    score, statistic, p = arrays["score"], arrays["statistic"], arrays["p"]
    extremes, responses = arrays["extremes"], arrays["responses"]
    assert score is not None and statistic is not None
    assert extremes is not None and responses is not None
    return Scored(Scores(score, statistic, p), extremes, responses)


# ----------------------------------------------------------------------------------- lesion


def lesion_effects(
    config: Config, cache: Cache, network: Callable[[], DualTaskVGG]
) -> dict[str, NDArray[np.float64]]:
    """`face_loss`, `face_top1`, `object_loss`, `object_top1` without each kernel, (kernels,);
    the same under `intact_…` for the whole network, scalars."""
    images, outputs = own_classes(config, cache)

    def compute() -> Mapping[str, NDArray[Any]]:
        from app import responses
        from app.findings.lesion import lesion_each

        kernels = config.model.widths[models.LAYERS.index(config.layer.name)]
        with progress_bar(
            f"lesioning {config.layer.name}", len(images) * (kernels + 1), "image"
        ) as progress:
            effects = lesion_each(
                network(),
                config.layer.name,
                images,
                outputs,
                config.model.face_classes,
                models.preprocessing(config.model),
                batch_size=config.batch_size,
                device=responses.choose_device(config.device),
                progress=progress,
            )
        return {
            "face_loss": effects.face.loss,
            "face_top1": effects.face.top1,
            "object_loss": effects.object.loss,
            "object_top1": effects.object.top1,
            "intact_face_loss": effects.intact_face.loss,
            "intact_face_top1": effects.intact_face.top1,
            "intact_object_loss": effects.intact_object.loss,
            "intact_object_top1": effects.intact_object.top1,
        }

    return cache.get(
        "lesion",
        {
            **_forward_ingredients(config, images),
            "layer": config.layer.name,
            "face_classes": config.model.face_classes,
            "lesion": code_digest("app.findings.lesion"),
        },
        compute,
    )


# --------------------------------------------------------------------------------- decoding


@dataclass(frozen=True)
class Decoded:
    """Identity decoding from a metric's kernels, with what it is to be judged against."""

    chosen: decoding.Decoding
    random_kernels: float  # mean accuracy over the draws
    all_kernels: float
    chance: float


def decoded(
    config: Config,
    cache: Cache,
    network: Callable[[], DualTaskVGG],
    kernels: NDArray[np.int64],
) -> Decoded:
    """Decode identity from the L2-norm responses of `kernels`, of as many random ones, of all."""
    images = unfamiliar_identities(config, cache)
    (features,) = kernel_responses(
        config, cache, network, images, [f"{config.layer.name}/l2"], "identities"
    )
    settings = config.decoding
    ingredients = {
        **_forward_ingredients(config, images),
        "layer": config.layer.name,
        "penalty": settings.penalty,
        "decoding": code_digest("app.findings.decoding"),
    }

    def from_kernels(chosen: NDArray[np.int64], what: str) -> decoding.Decoding:
        def compute() -> Mapping[str, NDArray[Any]]:
            with progress_bar(what, 1, "decoding"):
                result = decoding.decode(
                    features[:, chosen],
                    images.labels,
                    penalty=settings.penalty,
                    threads=config.threads,
                )
            return {"folds": result.folds}

        entry = cache.get("decoding", {**ingredients, "kernels": chosen.tolist()}, compute)
        return decoding.summary(entry["folds"], len(chosen))

    def random() -> Mapping[str, NDArray[Any]]:
        with progress_bar("random kernels", settings.random_draws, "decoding") as progress:
            result = decoding.decode_random(
                features,
                images.labels,
                len(kernels),
                settings.random_draws,
                config.seed,
                penalty=settings.penalty,
                progress=progress,
                threads=config.threads,
            )
        return {"accuracies": result.draws}

    draws = cache.get(
        "decoding",
        {
            **ingredients,
            "random": len(kernels),
            "draws": settings.random_draws,
            "seed": config.seed,
        },
        random,
    )["accuracies"]
    return Decoded(
        chosen=from_kernels(np.sort(kernels), "selected kernels"),
        random_kernels=float(draws.mean()),
        all_kernels=from_kernels(np.arange(features.shape[1]), "all kernels").accuracy,
        chance=decoding.chance(images.labels),
    )


# ---------------------------------------------------------------------------------- figures


def figure(cache: Cache, make: Callable[..., Figure], **arguments: Any) -> dict[str, bytes]:
    """The files of a figure by suffix; drawn again only when what it shows changes."""

    def compute() -> dict[str, NDArray[np.uint8]]:
        rendered = figures.render(make(**arguments))
        return {suffix: np.frombuffer(content, np.uint8) for suffix, content in rendered.items()}

    ingredients = {
        "figure": make.__name__,
        "arguments": {
            name: array_digest(value) if isinstance(value, np.ndarray) else value
            for name, value in arguments.items()
        },
        "code": code_digest("app.record.figures"),
        "style": file_digest(figures.STYLE),
        "matplotlib": version("matplotlib"),
    }
    entry = cache.get("figures", ingredients, compute)
    return {suffix: content.tobytes() for suffix, content in entry.items()}


# ----------------------------------------------------------------------- what does not apply


def why_no_lesion(config: Config) -> str | None:
    """One line where lesioning does not apply to this run, else None."""
    if config.lesion.name == "none":
        return "lesion: switched off (lesion=none)"
    if config.aggregation.name == "unit":
        return "lesion: single units are not lesioned; take aggregation=mean, l2 or max"
    if config.model.classes != "synthetic":
        return f"lesion: no held-out images of the classes of {config.model.name} are at hand"
    return None


def why_no_decoding(config: Config, kernels: int) -> str | None:
    """One line where decoding from that many kernels does not apply to this run, else None."""
    if config.decoding.name == "none":
        return "decoding: switched off (decoding=none)"
    if config.aggregation.name == "unit":
        return "decoding: kernels are decoded, not single units; take aggregation=mean, l2 or max"
    if not kernels:
        return (
            "decoding: no metric selects a kernel here; set decoding.kernels to decode "
            "from that many of the highest-ranked"
        )
    return None
