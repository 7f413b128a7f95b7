"""The steps of a run, each done once.

A step's result is stored under the content of what it came from: weights, images, preprocessing,
settings and the source code of the step. Jobs that differ in metric or threshold alone find it
there. torch is imported when a forward pass is due, not before.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app import memory, metrics, models
from app.config.schema import LAYERS, Config, Metric, Model, check_model
from app.errors import InputError
from app.figures import single as figures
from app.figures import style
from app.findings import decoding, greedy
from app.findings.dissociation import KernelSet, kernel_sets
from app.findings.greedy import GreedySearch
from app.memo.store import Cache, array_digest, code_digest, file_digest
from app.metrics import Question, Scored, Scores
from app.metrics.contrast import Contrast, contrast
from app.progress import progress_bar
from app.stimuli import classes, floc, synthetic
from app.stimuli import images as image_files
from app.stimuli.images import Images, Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from app.models import Loaded
    from app.models.vgg import DualTaskVGG
    from app.responses.forward import Network

# The source files whose change makes stored results of a step outdated.
DRAWING = tuple(
    f"app.stimuli.{name}"
    for name in ("synthetic", "drawing", "faces", "bodies", "characters", "places", "objects")
)
SCORING = tuple(
    f"app.metrics.{name}"
    for name in ("contrast", "blocks", "moments", "ranks", "ranks_torch", "scoring")
)
NETWORK = ("app.models", "app.models.vgg", "app.models.modules", "app.models.libraries")
FORWARD = ("app.responses.forward", "app.stimuli.images", *NETWORK)
STORED_MAPS = 2**27  # bytes of a layer's maps that the cache holds for further lesions


@dataclass(frozen=True)
class Localizer:
    """The stimuli with the domain of each category."""

    images: Images
    domains: dict[str, tuple[str, ...]]


# ---------------------------------------------------------------------------------- network


@dataclass(frozen=True)
class Subject:
    """The layer that is asked, of a network whose settings are complete."""

    shape: tuple[int, int, int]  # channels, rows, columns; tokens are rows
    read: str  # what is read for it, in words
    digest: str  # of the network's weights


def subject(config: Config, cache: Cache, network: Callable[[], Loaded]) -> tuple[Config, Subject]:
    """The config with nothing left open that only the network knows, and what is asked.

    A network of a library, or with as many outputs as its weights have, is looked at once: what
    was found is stored.
    """
    model, layer = config.model, config.layer
    if layer.output is None and None not in (model.outputs, model.trained):
        shape = models.conv_shape(model, layer.name)
        return config, Subject(shape, _conv_read(layer.name, shape), models.weights_digest(model))

    def look() -> dict[str, NDArray[Any]]:
        loaded = network()
        seen: dict[str, Any] = {"settings": _settings(loaded.settings), "digest": loaded.digest}
        if layer.output is None:
            shape = models.conv_shape(loaded.settings, layer.name)
            seen |= {"shape": shape, "read": _conv_read(layer.name, shape)}
        else:
            shape = loaded.network.shape(layer.name)
            seen |= {"shape": shape, "read": loaded.network.read_as(layer.name)}
        return {"json": np.array(json.dumps(seen))}

    stored = cache.get(
        "network",
        {
            "settings": _settings(model),
            "weights": models.weights_digest(model),
            "layer": layer.name,
            "output": layer.output,
            "code": code_digest(*NETWORK, "app.models.checkpoint"),
        },
        look,
    )
    seen = json.loads(str(stored["json"]))
    complete = _with_model(config, seen["settings"])
    check_model(complete.model)
    return complete, Subject(tuple(seen["shape"]), seen["read"], seen["digest"])


def _conv_read(layer: str, shape: tuple[int, int, int]) -> str:
    return f"{layer} after its ReLU: {' x '.join(map(str, shape))}"


def _settings(model: Model) -> dict[str, Any]:
    values = {field.name: getattr(model, field.name) for field in dataclasses.fields(Model)}
    return {k: list(v) if isinstance(v, Sequence) and not isinstance(v, str) else v
            for k, v in values.items()}  # fmt: skip


def _with_model(config: Config, settings: Mapping[str, Any]) -> Config:
    config = copy.deepcopy(config)
    for name, value in settings.items():
        if getattr(config.model, name) != value:
            setattr(config.model, name, value)
    return config


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
        named = [category for members in (settings.domains or {}).values() for category in members]
        if settings.root is None:
            images = _fetched_floc(config, named)
        else:
            images = image_files.from_folder(
                settings.root,
                named or None,
                what="category",
                setting="stimuli.root",
                leave_out=settings.leave_out,
            )
    domains = settings.domains or {category: [category] for category in images.labels}
    return Localizer(images, {domain: tuple(members) for domain, members in domains.items()})


def _fetched_floc(config: Config, named: Sequence[str]) -> Images:
    """fLoc's images of the named categories (none: all but what is left out), fetched once."""
    settings = config.stimuli
    digests = floc.read_digests(floc.DIGESTS)
    wanted = named or sorted(set(digests) - set(settings.leave_out))
    folder = Path(settings.folder).expanduser() if settings.folder else floc.default_folder()
    address = settings.address or ""
    total = sum(len(digests.get(category, ())) for category in wanted)
    with progress_bar("images of fLoc", total) as progress:
        root = floc.fetch(wanted, folder, address, digests, progress)
    images = image_files.from_folder(root, wanted, what="category", setting="stimuli.folder")
    return replace(images, source=address)


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
    """Held-out images of the network's own classes, and the right output of each.

    From disk where the config names folders, of one task or of both; else those of a synthetic
    network, drawn.
    """
    settings, faces = config.lesion, config.model.face_classes
    if tasks := _own_tasks(config):
        return classes.from_folders(tasks, setting="lesion", at_most=settings.images_per_class)
    objects = _outputs(config) - faces

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


def _own_tasks(config: Config) -> dict[str, classes.Task]:
    """The tasks whose images the config names folders of."""
    faces, settings = config.model.face_classes, config.lesion
    return {
        name: classes.Task(own.root, own.classes, outputs)
        for name, own, outputs in (
            ("faces", settings.faces, range(faces)),
            ("objects", settings.objects, range(faces, _outputs(config))),
        )
        if own.root
    }


def _outputs(config: Config) -> int:
    assert config.model.outputs is not None, "the config is complete"
    return config.model.outputs


def check_folders(config: Config) -> None:
    """Refuse folders that a later step would stumble over, before anything is computed.

    The config is complete, see `subject`. InputError as that step's; images are not opened.
    """
    if config.identities.name == "folder" and _may_decode(config):
        root, _, people = image_files.list_folder(
            config.identities.root or "", None, what="identity", setting="identities.root"
        )
        if len(set(people)) < 2:
            raise InputError(
                f"identities.root={root} has one folder, {people[0]!r}: decoding needs two "
                "identities or more"
            )
    if why_no_lesion(config) is None:
        classes.check_folders(_own_tasks(config), setting="lesion")


def check_decoding(config: Config, asked: Subject) -> None:
    """Refuse to decode from more kernels than the layer has, before anything is computed."""
    wanted, there = config.decoding.kernels, asked.shape[0]
    if wanted is not None and wanted > there and _may_decode(config):
        raise InputError(
            f"decoding.kernels={wanted}, but {config.layer.name} of {config.model.name} has "
            f"{there} kernels: ask for so many at most, or leave it out"
        )


def _may_decode(config: Config) -> bool:
    """Whether decoding applies where any metric selects a kernel."""
    return why_no_decoding(config, config.decoding.kernels or 1) is None


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
    network: Callable[[], Network],
    images: Images,
    aggregation: str,
    what: str,
    layers: Sequence[str] = (),
) -> NDArray[np.float32]:
    """Responses (images, kernels) of the config's layer.

    When they are not stored, one forward pass reads all that are missing of `layers` too (those
    that other jobs of a sweep will ask for), in all aggregations.
    """
    layer = config.layer.name
    # A sweep may name convolutions and modules side by side: each kind is read by itself.
    own_kind = [name for name in layers if (name in LAYERS) == (config.layer.output is None)]

    def compute(missing: list[str]) -> dict[str, dict[str, NDArray[np.float32]]]:
        from app.responses import forward as responses

        with progress_bar(what, len(images)) as progress:
            return responses.by_kernel(
                network(),
                [name for name in missing if name == layer or responses.can_read(network(), name)],
                images,
                models.preprocessing(config.model),
                device=responses.choose_device(config.device, config.precision),
                batch_size=config.batch_size,
                precision=config.precision,
                progress=progress,
            )

    return cache.get_each(
        "responses",
        {
            name: {**_forward_ingredients(config, images), **_layer_ingredients(config, name)}
            for name in dict.fromkeys([layer, *own_kind])
        },
        compute,
        wanted=[layer],
        names=[aggregation],
    )[layer][aggregation]


def _layer_ingredients(config: Config, name: str) -> dict[str, Any]:
    return {"layer": name, "output": config.layer.output}


def _forward_ingredients(config: Config, images: Images) -> dict[str, Any]:
    return {
        **models.fingerprint(config.model),
        "images": images.digest,
        "device": config.device,
        "precision": config.precision,
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
    network: Callable[[], Network],
    localizer: Localizer,
    compared: Mapping[str, Metric],
    layers: Sequence[str] = (),
) -> dict[str, Scored]:
    """The scores of every compared metric over the layer's units or kernels.

    `layers` as in `kernel_responses`. Each metric's scores are an entry of their own, so that a
    metric joins a layer without the others being scored again.
    """
    aggregation = config.aggregation.name
    asked = contrasts(localizer, config.target, compared)

    def compute(missing: list[str]) -> dict[str, dict[str, NDArray[Any]]]:
        from app.metrics.scoring import score_layer

        questions = {name: question(config, compared[name], asked[name]) for name in missing}
        if aggregation == "unit":
            units, blocks = _unit_blocks(config, cache, network, localizer.images, questions)
        else:
            kernels = kernel_responses(
                config, cache, network, localizer.images, aggregation, "stimuli", layers
            )
            units = kernels.shape[1]
            blocks = iter([(np.arange(units), kernels)])
        scored = score_layer(blocks, units, questions, config.threads)
        return {name: _to_arrays(found) for name, found in scored.items()}

    entries = cache.get_each(
        "scores",
        {
            name: {
                **_forward_ingredients(config, localizer.images),
                **_layer_ingredients(config, config.layer.name),
                "aggregation": aggregation,
                "target": config.target,
                "domains": {domain: list(members) for domain, members in localizer.domains.items()},
                "metric": name,
                "contrast": metric.contrast,
                "over": metric.over,
                "options": dict(metric.options),
                "scoring": code_digest(*SCORING, *metrics.sources(name, SCORING)),
            }
            for name, metric in compared.items()
        },
        compute,
    )
    return {name: _from_arrays(entries[name]) for name in compared}


def question(config: Config, metric: Metric, asked: Contrast) -> Question:
    """What a metric is asked; one that can use a GPU does, where the forward pass does."""
    from app.responses import forward as responses

    score, options = metrics.load(metric.name), dict(metric.options)
    metrics.check_options(metric.name, options)
    if "device" in inspect.signature(score).parameters:
        device = options.get("device", config.device)
        options["device"] = responses.choose_device(device).type
    return Question(score, asked, options)


def _unit_blocks(
    config: Config,
    cache: Cache,
    network: Callable[[], Network],
    images: Images,
    questions: Mapping[str, Question],
) -> tuple[int, Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]]:
    """How many units the layer has, and the blocks of them that the memory budget allows."""
    from app.metrics.scoring import result_bytes
    from app.responses import forward as responses

    layer = config.layer.name
    device = responses.choose_device(config.device, config.precision)
    shape = responses.map_shape(network(), layer)
    units = math.prod(shape)
    rows = memory.rows_within(
        config.memory_gb,
        shape,
        len(images),
        fixed=memory.resident()
        + len(images) * network().input_size ** 2 * 3  # the decoded images
        + responses.workspace(network(), layer, device, config.batch_size),
        bytes_a_unit=sum(result_bytes(question) for question in questions.values()),
        what=f"the units of {layer} of {config.model.name}",
    )

    store = device.type == "cpu" and responses.worth_storing(
        network(), layer, len(images), rows, cache.folder
    )

    def blocks() -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        steps = (1 if store else responses.blocks(shape[1], rows)) * len(images)
        with progress_bar(f"{layer} units", steps) as progress:
            yield from responses.by_unit(
                network(),
                layer,
                images,
                models.preprocessing(config.model),
                device=device,
                rows_a_block=rows,
                store=cache.folder if store else None,
                batch_size=config.batch_size,
                precision=config.precision,
                progress=progress,
            )

    return units, blocks()


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


def _from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Scored:
    return Scored(
        Scores(arrays["score"], arrays["statistic"], arrays.get("p")),
        arrays["extremes"],
        arrays["responses"],
    )


# ----------------------------------------------------------------------------------- lesion


@dataclass(frozen=True)
class Lesioned:
    """What remains of both tasks when kernels of the layer are lesioned."""

    effects: dict[str, NDArray[np.float64]]  # of each kernel by itself, see `lesion_effects`
    searches: dict[str, GreedySearch]  # a greedy search a task; none unless lesion=greedy
    sets: Sequence[KernelSet]  # lesioned together; none where lesion.sets is empty
    without: dict[str, NDArray[np.float64]]  # (sets,) by measure, see `greedy.MEASURES`

    @property
    def tasks(self) -> list[str]:
        """Those of `greedy.TASKS` of which there are images."""
        return [task for task in greedy.TASKS if not np.isnan(self.effects[f"intact_{task}_loss"])]

    @property
    def notes(self) -> list[str]:
        """One line for each task that is left out."""
        return [
            f"lesion: the {task} task is left out; images of its classes are named by "
            f"lesion.{task}s.root=<folder>"
            for task in greedy.TASKS
            if task not in self.tasks
        ]


def lesioned(
    config: Config,
    cache: Cache,
    network: Callable[[], DualTaskVGG],
    score: NDArray[np.float64],
    selected: NDArray[np.bool_],
) -> Lesioned:
    """The lesions that the config asks for; `score` and `selected` (kernels,) say of which sets."""
    settings = config.lesion
    own = own_classes(config, cache)
    searches = greedy_searches(config, cache, network, own) if settings.name == "greedy" else {}
    effects = lesion_effects(config, cache, network, own=own)
    sets: list[KernelSet] = []
    if settings.sets:
        sets = kernel_sets(score, selected, settings.sets, settings.random_draws, config.seed)
    without = lesioned_sets(config, cache, network, [each.kernels for each in sets], effects, own)
    return Lesioned(effects, searches, sets, without)


def lesioned_sets(
    config: Config,
    cache: Cache,
    network: Callable[[], DualTaskVGG],
    sets: Sequence[tuple[int, ...]],
    effects: Mapping[str, NDArray[np.float64]],
    own: tuple[Images, NDArray[np.int64]],
) -> dict[str, NDArray[np.float64]]:
    """What remains of both tasks without each set of kernels, (sets,) by `greedy.MEASURES`.

    Each set is stored by itself: other metrics, criteria and percentages find those they share.
    Sets of no kernel and of one are read off `effects`, all kernels' by themselves.
    """

    def compute() -> dict[str, NDArray[np.float64]]:
        maps = functools.cache(lambda: _kept_maps(config, cache, network, own[0]))
        found: dict[tuple[int, ...], list[Any]] = {}
        different = list(dict.fromkeys(sets))
        with progress_bar(f"lesioning sets of {config.layer.name}", len(different), "set") as done:
            for kernels in different:
                if not kernels:
                    found[kernels] = [effects[f"intact_{name}"] for name in greedy.MEASURES]
                elif len(kernels) == 1:
                    found[kernels] = [effects[name][kernels[0]] for name in greedy.MEASURES]
                else:
                    whole = lesion_effects(config, cache, network, kernels, (), maps, own)
                    found[kernels] = [whole[f"intact_{name}"] for name in greedy.MEASURES]
                done(1)
        values = np.array([found[kernels] for kernels in sets], dtype=np.float64)
        return dict(zip(greedy.MEASURES, values.reshape(-1, len(greedy.MEASURES)).T, strict=True))

    if not sets:
        return compute()  # empty arrays
    ingredients = {
        **_lesion_ingredients(config, own[0]),
        "sets": [list(map(int, kernels)) for kernels in sets],
    }
    return cache.get("lesion_sets", ingredients, compute)


def lesion_effects(
    config: Config,
    cache: Cache,
    network: Callable[[], DualTaskVGG],
    dropped: Sequence[int] = (),
    kernels: Sequence[int] | None = None,
    maps: Callable[[], list[Tensor] | None] = lambda: None,
    own: tuple[Images, NDArray[np.int64]] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """`face_loss`, `face_top1`, `object_loss`, `object_top1` without each of the kernels (None:
    all), (kernels,); the same under `intact_…` without any of them, scalars.

    The kernels in `dropped` are lesioned throughout. `maps` may bring the layer's maps, `own` what
    `own_classes` returned.
    """
    images, outputs = own or own_classes(config, cache)
    layer = config.layer.name
    count = _kernel_count(config) if kernels is None else len(kernels)

    def compute() -> Mapping[str, NDArray[Any]]:
        from app.findings.lesion import lesion_each
        from app.responses import forward as responses

        brought = maps()
        with progress_bar(f"lesioning {layer}", len(images) * (count + 1)) as progress:
            effects = lesion_each(
                network(),
                layer,
                images,
                outputs,
                config.model.face_classes,
                models.preprocessing(config.model),
                batch_size=config.batch_size,
                device=responses.choose_device(config.device),
                progress=progress,
                dropped=dropped,
                kernels=kernels,
                maps=brought,
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

    ingredients = {
        **_lesion_ingredients(config, images),
        "dropped": sorted(map(int, dropped)),
        "kernels": None if kernels is None else list(kernels),
    }
    return cache.get("lesion", ingredients, compute)


def greedy_searches(
    config: Config,
    cache: Cache,
    network: Callable[[], DualTaskVGG],
    own: tuple[Images, NDArray[np.int64]] | None = None,
) -> dict[str, GreedySearch]:
    """A greedy search for each task of which there are images.

    Every step is stored as it is done, so a search that was interrupted goes on where it
    stopped, and one that drops more goes on where another ended. `own` may bring what `own_classes`
    returned.
    """
    own = own or own_classes(config, cache)  # once: those on disk are read to know their content
    images, outputs = own
    of_faces = outputs < config.model.face_classes
    tasks = [
        task for task, shown in zip(greedy.TASKS, (of_faces, ~of_faces), strict=True) if shown.any()
    ]
    kernels, group_size = _kernel_count(config), config.lesion.group_size
    drop = max(1, round(config.lesion.fraction * kernels))
    counts = greedy.dropped_after(drop, group_size)

    def search(task: str, maps: Callable[[], Any], progress: Progress) -> GreedySearch:
        path = []

        def loss_without(dropped: tuple[int, ...]) -> NDArray[np.float64]:
            path.append(lesion_effects(config, cache, network, dropped, maps=maps, own=own))
            progress(1)
            return path[-1][f"{task}_loss"]

        order = greedy.rank(kernels, drop, group_size, loss_without)
        dropped = order[:drop].tolist()
        path.append(lesion_effects(config, cache, network, dropped, (), maps, own))
        return GreedySearch(
            order,
            counts,
            {
                measure: np.array([effects[f"intact_{measure}"] for effects in path])
                for measure in greedy.MEASURES
            },
        )

    def compute() -> Mapping[str, NDArray[Any]]:
        maps = functools.cache(lambda: _kept_maps(config, cache, network, images))
        arrays: dict[str, NDArray[Any]] = {}
        steps = len(tasks) * (len(counts) - 1)
        with progress_bar(f"greedy search of {config.layer.name}", steps, "step") as progress:
            for task in tasks:
                found = search(task, maps, progress)
                arrays[f"{task}_order"] = found.order
                arrays |= {f"{task}_{name}": values for name, values in found.remaining.items()}
        return arrays

    stored = cache.get(
        "greedy",
        {
            **_lesion_ingredients(config, images),
            "drop": drop,
            "group_size": group_size,
            "greedy": code_digest("app.findings.greedy"),
        },
        compute,
    )
    return {
        task: GreedySearch(
            stored[f"{task}_order"],
            counts,
            {measure: stored[f"{task}_{measure}"] for measure in greedy.MEASURES},
        )
        for task in tasks
    }


def _kept_maps(
    config: Config, cache: Cache, network: Callable[[], DualTaskVGG], images: Images
) -> list[Tensor] | None:
    """The layer's maps, for lesions of many sets; stored where they are small. None: too many."""
    import torch

    from app.findings.lesion import kept_maps
    from app.responses import forward as responses

    layer, device = config.layer.name, responses.choose_device(config.device)

    def compute() -> list[Tensor] | None:
        with progress_bar(f"{layer} maps", len(images)) as progress:
            return kept_maps(
                network(),
                layer,
                images,
                models.preprocessing(config.model),
                batch_size=config.batch_size,
                device=device,
                progress=progress,
            )

    def arrays() -> dict[str, NDArray[Any]]:
        maps = compute()
        assert maps is not None, "what is stored is far below what is kept"
        return {f"{i:06d}": np.ascontiguousarray(each.cpu().numpy()) for i, each in enumerate(maps)}

    if 4 * len(images) * math.prod(models.conv_shape(config.model, layer)) > STORED_MAPS:
        return compute()
    stored = cache.get("lesion_maps", _lesion_ingredients(config, images), arrays)
    return [
        torch.from_numpy(stored[name]).to(device, memory_format=torch.channels_last)
        for name in sorted(stored)
    ]


def _lesion_ingredients(config: Config, images: Images) -> dict[str, Any]:
    return {
        **_forward_ingredients(config, images),
        "layer": config.layer.name,
        "face_classes": config.model.face_classes,
        "lesion": code_digest("app.findings.lesion"),
    }


def _kernel_count(config: Config) -> int:
    return config.model.widths[LAYERS.index(config.layer.name)]


# --------------------------------------------------------------------------------- decoding


@dataclass(frozen=True)
class Decoded:
    """Identity decoding from a metric's kernels, with what it is to be judged against."""

    chosen: decoding.Decoding
    random_kernels: float  # mean accuracy over the draws
    all_kernels: float
    chance: float
    notes: list[str]  # one line where the images ask for folds of another kind than the paper's


def decoded(
    config: Config,
    cache: Cache,
    network: Callable[[], Network],
    kernels: NDArray[np.int64],
    layers: Sequence[str] = (),
) -> Decoded:
    """Decode identity from the L2-norm responses of `kernels`, of as many random ones, of all."""
    images = unfamiliar_identities(config, cache)
    features = kernel_responses(config, cache, network, images, "l2", "identities", layers)
    settings = config.decoding
    ingredients = {
        **_forward_ingredients(config, images),
        **_layer_ingredients(config, config.layer.name),
        "penalty": settings.penalty,
        "decoding": code_digest("app.findings.decoding", "app.findings.svm"),
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
        notes=[f"decoding: {rule}" for rule in [decoding.uneven(images.labels)] if rule],
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
        "code": code_digest("app.figures.single", "app.figures.style"),
        "style": file_digest(style.STYLE),
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
    if config.lesion.layers is not None and config.layer.name not in config.lesion.layers:
        return f"lesion: {config.layer.name} is not one of lesion.layers={config.lesion.layers}"
    if config.model.source != "vgg" or config.layer.output is not None:
        return "lesion: only the convolutions of the dual-task networks are lesioned"
    if not config.model.face_classes:
        return f"lesion: none of the outputs of {config.model.name} are faces (model.face_classes)"
    on_disk = config.lesion.faces.root or config.lesion.objects.root
    if config.model.classes != "synthetic" and not on_disk:
        return (
            f"lesion: no held-out images of the classes of {config.model.name} are at hand; "
            "lesion.faces.root and lesion.objects.root name folders of them"
        )
    return None


def why_no_decoding(config: Config, kernels: int) -> str | None:
    """One line where decoding from that many kernels does not apply to this run, else None."""
    if config.decoding.name == "none":
        return "decoding: switched off (decoding=none)"
    if config.aggregation.name == "unit":
        return "decoding: kernels are decoded, not single units; take aggregation=mean, l2 or max"
    if config.decoding.layers is not None and config.layer.name not in config.decoding.layers:
        return (
            f"decoding: {config.layer.name} is not one of decoding.layers={config.decoding.layers}"
        )
    if not kernels:
        return (
            "decoding: no metric selects a kernel here; set decoding.kernels to decode "
            "from that many of the highest-ranked"
        )
    return None
