"""The drawn stimuli: the same from the same seed, disjoint where they must be, matched."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from app.stimuli import bodies, characters, drawing, faces, objects, places
from app.stimuli.drawing import MEAN_GREY, RMS_CONTRAST
from app.stimuli.synthetic import (
    DOMAINS,
    HELD_OUT,
    OBJECT_CATEGORIES,
    draw_identities,
    draw_localizer,
    draw_objects,
)

CATEGORIES = [name for names in DOMAINS.values() for name in names]


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    pixels, categories = draw_localizer(0, 16)
    return pixels, np.array(categories)


def test_localizer_has_flocs_categories_in_order(drawn):
    pixels, categories = drawn
    assert pixels.shape == (160, 64, 64) and pixels.dtype == np.uint8
    assert list(dict.fromkeys(categories)) == CATEGORIES
    assert all((categories == name).sum() == 16 for name in CATEGORIES)


@pytest.mark.slow
def test_same_seed_same_bits_in_another_process(drawn):
    code = (
        "import hashlib; from app.stimuli.synthetic import draw_localizer;"
        "print(hashlib.sha256(draw_localizer(0, 2)[0].tobytes()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    here = hashlib.sha256(draw_localizer(0, 2)[0].tobytes()).hexdigest()
    assert there.stdout.decode().strip() == here


# Of what every category, person and class looks like; networks and goldens rest on these pixels.
DIGESTS = {
    "localizer": "ca0e80fe4749100909d1ad02c5ebe8f8a17bf3b26221878c3c842c0ebe870abd",
    "network": "4643df7eb5a74965c0029e4dcbbc7f157712189b931f634c56c5d2f4f8885949",
    "decoding": "fc5e7c6564b8fc70cf5bb6dc7e4e91d33e475bd363db1d47d4d98d0e40427650",
    "objects": "cb1236c2d337e74b9a9fdea715f748e7f04d982f043e0a28e87b6c01d7847785",
}


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("localizer", lambda: draw_localizer(0, 4, 32)),
        ("network", lambda: draw_identities(0, 16, 1, split="network", size=32)),
        ("decoding", lambda: draw_identities(0, 16, 1, split="decoding", size=32)),
        ("objects", lambda: draw_objects(0, 2, first_image=HELD_OUT, size=32)),
    ],
)
def test_every_drawing_stays_as_it_is(name, images):
    assert hashlib.sha256(images().pixels.tobytes()).hexdigest() == DIGESTS[name]


def test_another_seed_draws_other_images():
    assert not (draw_localizer(0, 1)[0] == draw_localizer(1, 1)[0]).all(axis=(1, 2)).any()


def test_an_image_does_not_depend_on_how_many_are_drawn(drawn):
    pixels, categories = drawn
    fewer, labels = draw_localizer(0, 3)
    for name in CATEGORIES:
        np.testing.assert_array_equal(
            fewer[np.array(labels) == name], pixels[categories == name][:3]
        )


def test_people_and_objects_do_not_depend_on_how_many_are_drawn():
    many, _ = draw_identities(0, 3, 4, split="network")
    one, labels = draw_identities(0, 2, 1, split="network", first_image=2)
    np.testing.assert_array_equal(one, many.reshape(3, 4, 64, 64)[:2, 2])
    assert labels == ("network_000", "network_001")
    every, _ = draw_objects(0, 2)
    some, labels = draw_objects(0, 1, count=7, first_image=1)
    np.testing.assert_array_equal(some, every.reshape(-1, 2, 64, 64)[:7, 1])
    assert labels == OBJECT_CATEGORIES[:7]


def test_images_within_a_category_differ(drawn):
    pixels, _ = drawn
    assert len(np.unique(pixels.reshape(len(pixels), -1), axis=0)) == len(pixels)


def test_mean_and_contrast_are_the_same_in_every_image(drawn):
    others = [
        draw_identities(3, 4, 2, split="decoding")[0],
        draw_objects(3, 1)[0],
    ]
    for pixels in (drawn[0], *others):
        values = pixels.reshape(len(pixels), -1).astype(float)
        np.testing.assert_allclose(values.mean(1), MEAN_GREY, atol=0.1)
        np.testing.assert_allclose(values.std(1), RMS_CONTRAST, atol=0.1)


def test_mean_and_contrast_tell_nothing_about_the_category(drawn):
    """What is left after matching, however small, does not classify better than chance."""
    from sklearn.discriminant_analysis import (
        LinearDiscriminantAnalysis,
        QuadraticDiscriminantAnalysis,
    )
    from sklearn.model_selection import cross_val_score

    pixels, categories = drawn
    values = pixels.reshape(len(pixels), -1).astype(float)
    features = np.stack([values.mean(1), values.std(1)], axis=1)
    features = (features - features.mean(0)) / features.std(0)
    count, chance = len(pixels), 1 / len(CATEGORIES)
    # Three standard errors of a guesser above chance.
    bound = chance + 3 * np.sqrt(chance * (1 - chance) / count)
    for classifier in (LinearDiscriminantAnalysis(), QuadraticDiscriminantAnalysis()):
        assert cross_val_score(classifier, features, categories, cv=4).mean() < bound


def test_matching_is_what_removes_mean_and_contrast():
    """The test above can fail: the same classifier reads the category before matching."""
    rng = np.random.default_rng(0)
    dark, light = (np.clip(rng.normal(m, 0.1, (64, 64)), 0, 1) for m in (0.3, 0.7))
    assert abs(dark.mean() - light.mean()) > 0.3
    matched = [drawing.matched(image, rng).astype(float) for image in (dark, light)]
    assert abs(matched[0].mean() - matched[1].mean()) < 0.1
    assert abs(matched[0].std() - matched[1].std()) < 0.1


def test_figures_cover_a_like_share_of_the_image_in_every_category(monkeypatch):
    shares: list[float] = []

    def watched(figure, size, placement, paint=drawing.painted):
        grey, coverage = paint(figure, size, placement)
        if size == 64:
            shares.append(float(coverage.mean()))
        return grey, coverage

    monkeypatch.setattr("app.stimuli.synthetic.painted", watched)
    draw_localizer(0, 8)
    means = np.array(shares).reshape(len(CATEGORIES), 8).mean(1)
    assert means.min() > 0.17 and means.max() < 0.34


def test_the_background_is_the_same_behind_all_categories(drawn):
    """Contrast at the image's upper and lower rim, where no figure reaches often."""
    pixels, categories = drawn
    rim = np.concatenate([pixels[:, :3], pixels[:, -3:]], axis=1).reshape(len(pixels), -1)
    spread = np.median(rim.astype(float).std(1).reshape(len(CATEGORIES), -1), axis=1)
    assert spread.max() / spread.min() < 2


def test_people_of_the_sets_are_different_people():
    """No two sets draw the same person: their streams differ, so do the parameters drawn."""
    from app.stimuli.synthetic import _stream

    people = {
        faces.person(rng, child=False)
        for rng in (
            *(_stream(0, "network", k) for k in range(120)),
            *(_stream(0, "decoding", k) for k in range(100)),
            *(_stream(0, "localizer", 0, k) for k in range(144)),
        )
    }
    assert len(people) == 120 + 100 + 144


def test_a_person_stays_the_same_from_picture_to_picture():
    """Pictures of one person are more alike than pictures of different people, on average."""
    rng = np.random.default_rng(0)
    who = [faces.person(rng, child=False) for _ in range(12)]
    views = [faces.look(rng) for _ in range(2)]
    place = drawing.Affine2D().scale(0.7)
    painted = np.array(
        [[np.concatenate(drawing.painted(faces.face(p, v), 32, place)) for v in views] for p in who]
    )
    distance = np.abs(painted[:, None, 0] - painted[None, :, 1]).mean(axis=(2, 3))
    assert np.diag(distance).mean() < 0.7 * distance[~np.eye(12, dtype=bool)].mean()


def test_held_out_pictures_are_new():
    learned, _ = draw_identities(0, 2, 3, split="network")
    held_out, _ = draw_identities(0, 2, 3, split="network", first_image=HELD_OUT)
    assert not (learned[:, None] == held_out[None]).all(axis=(2, 3)).any()


def test_size_is_free_and_nothing_drawn_is_fine():
    assert draw_localizer(0, 1, size=96)[0].shape == (10, 96, 96)
    assert draw_identities(0, 0, 5, split="network")[0].shape == (0, 64, 64)


def test_there_are_sixty_objects_and_each_draws():
    assert len(OBJECT_CATEGORIES) == 60
    rng = np.random.default_rng(0)
    place = drawing.Affine2D().scale(0.7)
    for draw in (*objects.DRAWINGS.values(), objects.instrument, bodies.body, bodies.limb,
                 characters.word, characters.number, places.house, places.corridor):  # fmt: skip
        _, coverage = drawing.painted(draw(rng), 32, place)
        assert 0.02 < coverage.mean() < 0.6, draw.__name__


@pytest.mark.slow
def test_drawing_needs_neither_torch_nor_pyplot():
    code = (
        "import sys, app.stimuli.synthetic;"
        "sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_lines_are_anti_aliased():
    line = [drawing.stroke([(-0.9, -0.5), (0.9, 0.5)], 1.0, 0.1)]
    _, coverage = drawing.painted(line, 64, drawing.Affine2D())
    assert len(np.unique(coverage)) > 10


def test_scrambled_pictures_have_a_spectrum_and_nothing_else():
    """Drawn where they are asked for, beside the other categories, whose pixels they leave."""
    plain, (pixels, labels) = draw_localizer(0, 3, 32), draw_localizer(0, 3, 32, scrambled=True)
    assert labels == (*plain.labels, *["scrambled"] * 3)
    np.testing.assert_array_equal(pixels[:30], plain.pixels)
    for picture in pixels[30:].astype(float):
        assert picture.mean() == pytest.approx(MEAN_GREY, abs=0.5)
        assert picture.std() == pytest.approx(RMS_CONTRAST, rel=0.02)
        spectrum = np.abs(np.fft.fft2(picture))
        alike = [np.corrcoef(np.log(spectrum.flat[1:] + 1),
                             np.log(np.abs(np.fft.fft2(other)).flat[1:] + 1))[0, 1]
                 for other in pixels[:30].astype(float)]  # fmt: skip
        assert max(alike) > 0.9, "the spectrum is that of one of them"
        assert max(abs(np.corrcoef(picture.flat, other.flat)[0, 1]) for other in pixels[:30]) < 0.6
