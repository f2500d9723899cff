"""How plots name classes."""

import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from yolox_jax.report import class_labels as labels_module
from yolox_jax.report.class_labels import LONGEST_LABEL, class_labels
from yolox_jax.report.plots import ap_by_class, confusion, plot_style, precision_recall

ODD = ("人", "猫", "$x_1^2$", "_tail", "", "two\nlines", "a" * 80, "a" * 79 + "b", "हिरण", "🐶", "кот", "قط", "x\udce9")


@pytest.fixture
def no_other_fonts(monkeypatch):
    monkeypatch.setattr(labels_module, "_installed", lambda: iter(()))
    labels_module._class_labels.cache_clear()
    yield
    labels_module._class_labels.cache_clear()


def document(names: tuple[str, ...]) -> dict:
    size = len(names) + 1
    return {
        "data": {"class_names": list(names)},
        "per_class": dict.fromkeys(names, 0.5),
        "curves": {"per_iou": {}, "per_class": {name: [0.5] * 101 for name in names}},
        "confusion": {"matrix": np.eye(size).tolist()},
    }


def test_names_without_letters_in_any_font_are_numbered(no_other_fonts):
    labels = class_labels(ODD)
    assert labels.labels["人"] == "class 0" and labels.labels["猫"] == "class 1"
    assert {"人", "猫", "", "हिरण"} <= set(labels.numbered)
    assert labels.labels["$x_1^2$"] == "$x_1^2$" and labels.labels["_tail"] == "_tail"
    assert labels.labels["two\nlines"] == "two lines"
    assert labels.labels["кот"] == "кот"
    assert len(set(labels.labels.values())) == len(ODD), "classes can be told apart"


def test_a_number_is_told_apart_from_a_class_of_that_name(no_other_fonts):
    assert class_labels(("class 1", "猫")).labels == {"class 1": "class 1", "猫": "class #1"}


def test_long_names_keep_their_start_and_end():
    name = "vehicles/heavy/" + "x" * 50 + "/excavator"
    label = class_labels([name]).labels[name]
    assert len(label) == LONGEST_LABEL and label.startswith("vehicles/heavy/") and label.endswith("excavator")
    assert class_labels(["a" * 80, "a" * 90]).numbered == ("a" * 80, "a" * 90), "both would be the same"


def test_a_font_that_has_the_letters_is_found(monkeypatch):
    letters = {"sans-serif": set("abc"), "Wide Sans": set("人猫"), "Nothing": set("z")}
    monkeypatch.setattr(labels_module, "_letters_of", lambda family: letters.get(family, set()))
    monkeypatch.setattr(labels_module, "_installed", lambda: iter(("Nothing", "Wide Sans")))
    labels_module._class_labels.cache_clear()
    labels = class_labels(("人", "猫", "cab"))
    labels_module._class_labels.cache_clear()
    assert (labels.fonts, labels.numbered) == (("Wide Sans",), ())
    assert labels.labels["人"] == "人"


def test_a_font_whose_letters_are_all_the_same_box_is_of_no_use():
    """matplotlib brings one, as a last resort."""
    boxes = [family for family in labels_module._installed() if "Last Resort" in family]
    assert all(not labels_module._letters_of(family) & set("人猫") for family in boxes)
    assert not [family for family in labels_module._installed() if "Emoji" in family]
    assert ord("a") in map(ord, labels_module._letters_of("DejaVu Sans"))
    assert labels_module._letters_of("no such font") == set()


def test_plots_of_odd_names_raise_no_warnings_and_keep_all_names(no_other_fonts, tmp_path):
    shown = document(ODD[:9])
    with warnings.catch_warnings(), matplotlib.rc_context(plot_style(shown)):
        warnings.simplefilter("error")
        figures: list[Figure] = [precision_recall(shown), ap_by_class(shown), confusion(shown)]
        for number, figure in enumerate(figures):
            figure.savefig(tmp_path / f"{number}.png")
    legend = [text.get_text() for text in figures[0].axes[1].get_legend().get_texts()]
    assert "_tail" in legend and "$x_1^2$" in legend and len(legend) == 9
    assert [tick.get_text() for tick in figures[2].axes[0].get_yticklabels()][-1] == "background"
