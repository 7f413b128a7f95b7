import numpy as np
import pytest

from app.errors import InputError
from app.metrics.contrast import Contrast, contrast

DOMAINS = {"faces": ["adult", "child"], "places": ["house", "corridor"], "objects": ["car"]}
CATEGORIES = ["adult", "house", "car", "child", "scrambled", "corridor", "house", "car", "corridor"]


def where(mask):
    return np.flatnonzero(mask).tolist()


def test_each_domain():
    result = contrast(CATEGORIES, DOMAINS, "faces")
    assert where(result.target) == [0, 3]
    assert result.names == ("places", "objects")
    assert [where(mask) for mask in result.others] == [[1, 5, 6, 8], [2, 7]]
    assert where(result.included) == [0, 1, 2, 3, 5, 6, 7, 8]
    assert result.target.dtype == bool


def test_each_category():
    result = contrast(CATEGORIES, DOMAINS, "faces", over="categories")
    assert where(result.target) == [0, 3]
    assert result.names == ("house", "corridor", "car")
    assert [where(mask) for mask in result.others] == [[1, 6], [5, 8], [2, 7]]


@pytest.mark.parametrize("over", ["domains", "categories"])
def test_pooled(over):
    result = contrast(CATEGORIES, DOMAINS, "places", kind="pooled", over=over)
    assert where(result.target) == [1, 5, 6, 8]
    assert result.names == ("non-target",)
    assert [where(mask) for mask in result.others] == [[0, 2, 3, 7]]


@pytest.mark.parametrize(
    ("categories", "domains", "options", "message"),
    [
        (CATEGORIES, DOMAINS, {"target": "face"}, "'face' is no domain.*faces, places, objects"),
        (CATEGORIES, {"faces": ["adult"]}, {}, "at least two domains"),
        (CATEGORIES, {**DOMAINS, "more": ["car"]}, {}, "'car' is in the domains 'objects' and"),
        (CATEGORIES, {**DOMAINS, "bodies": ["limb"]}, {}, "'bodies' has no images"),
        (CATEGORIES, {**DOMAINS, "bodies": []}, {}, "'bodies' has no images"),
        (CATEGORIES[1:], DOMAINS, {}, "'faces' has one image; .*two or more"),
        (CATEGORIES[:-1], DOMAINS, {"over": "categories"}, "'corridor' has one image"),
        (["adult", "adult", "car"], {"faces": ["adult"], "objects": ["car"]}, {}, "'objects' has"),
        (CATEGORIES, DOMAINS, {"kind": "all"}, "pooled or each, not 'all'"),
        (CATEGORIES, DOMAINS, {"over": "images"}, "domains or categories, not 'images'"),
    ],
)
def test_refused(categories, domains, options, message):
    with pytest.raises(InputError, match=message) as error:
        contrast(categories, domains, **{"target": "faces", **options})
    assert "\n" not in str(error.value)


def test_a_single_image_counts_when_pooled():
    categories = ["adult", "adult", "car", "house"]
    domains = {"faces": ["adult"], "objects": ["car"], "places": ["house"]}
    assert where(contrast(categories, domains, "faces", kind="pooled").others[0]) == [2, 3]
    with pytest.raises(InputError):
        contrast(categories, domains, "faces")


def test_groups_are_disjoint_and_named():
    first, second = np.array([True, True, False]), np.array([False, True, True])
    with pytest.raises(ValueError, match="share"):
        Contrast(first, (second,), ("other",))
    with pytest.raises(ValueError, match="name"):
        Contrast(first, (~first,), ())
