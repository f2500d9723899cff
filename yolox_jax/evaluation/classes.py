"""Matches the classes of weights with those of a dataset."""

import dataclasses
import logging
import shlex
from collections import Counter
from collections.abc import Sequence

from yolox_jax.config import ConfigError
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.sources.joined import select_classes
from yolox_jax.inference.options import numbered_classes
from yolox_jax.text import shortened
from yolox_jax.weights.coco_names import COCO_NAMES

logger = logging.getLogger(__name__)

MOST_NAMES = 10
"""Maximum number of class names in a message."""


def match_classes(class_names: Sequence[str], dataset: Dataset, *, are_stored: bool) -> Dataset:
    """Give a dataset the classes of the weights, in their order. Classes are matched by name.

    Upper case, blanks, hyphens and underscores make no difference, unless two classes differ in nothing else. Classes
    that only the weights have are classes without objects; their category ids are not in `dataset`. Logs a warning if
    the classes are not the same in the same order.

    Args:
        class_names: those of the weights.
        dataset: the dataset to evaluate on.
        are_stored: whether the names are stored with the weights. If they are not, and the dataset has other classes
            than COCO, classes are matched by index.

    Raises:
        ConfigError: the dataset has classes that the weights do not have.
    """
    names = tuple(class_names)
    if names == dataset.class_names:
        return dataset
    match_of = _matches(dataset.class_names, names)
    if not are_stored and not (names == COCO_NAMES and len(match_of) == len(dataset.class_names)):
        return _matched_by_index(names, dataset)
    unknown = [name for name in dataset.class_names if name not in match_of]
    if unknown:
        raise ConfigError(_message(names, dataset, unknown))
    dataset_name = {match: name for name, match in match_of.items()}
    selected = select_classes(dataset, [dataset_name.get(name, name) for name in names], all_required=False)
    _warn(names, dataset, match_of)
    return dataclasses.replace(selected, warnings=dataset.warnings)


def check_classes(class_names: Sequence[str], dataset: Dataset) -> None:
    """Check that a detector has the classes of a dataset in the same order, unless its classes have no names.

    Raises:
        ConfigError: it does not; the message says how they differ.
    """
    names = tuple(class_names)
    if len(names) != len(dataset.class_names):
        raise ConfigError(_message(names, dataset))
    if names not in (numbered_classes(len(names)), dataset.class_names):
        index, ours, theirs = next(
            (index, *pair)
            for index, pair in enumerate(zip(names, dataset.class_names, strict=True))
            if pair[0] != pair[1]
        )
        raise ConfigError(f"class {index} is {ours!r} in the detector and {theirs!r} in the dataset {dataset.name}")


def _matches(names: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """The known name of each name: the same, or the only one that is spelt alike."""
    known_counts, counts = Counter(map(_plain, known)), Counter(map(_plain, names))
    alike = {_plain(name): name for name in known}
    matches = {name: name for name in names if name in known}
    for name in names:
        plain = _plain(name)
        if name not in matches and counts[plain] == known_counts[plain] == 1:
            matches[name] = alike[plain]
    return matches


def _plain(name: str) -> str:
    """A name without what programs change when they export it."""
    return "".join(character for character in name.casefold() if not character.isspace() and character not in "_-")


def _matched_by_index(names: tuple[str, ...], dataset: Dataset) -> Dataset:
    if len(names) != len(dataset.class_names):
        raise ConfigError(_message(names, dataset))
    logger.warning(
        "the weights carry no class names: their classes are taken to be those of the dataset %s, in that order (%s)",
        dataset.name,
        shortened(dataset.class_names, MOST_NAMES),
    )
    return dataset


def _warn(names: tuple[str, ...], dataset: Dataset, match_of: dict[str, str]) -> None:
    """Say once how the classes of weights and dataset differ."""
    notes = []
    matched = [match_of[name] for name in dataset.class_names]
    if matched != [name for name in names if name in matched]:
        notes.append("their order differs")
    respelt = [f"{name!r} is {match!r} in the weights" for name, match in match_of.items() if name != match]
    if respelt:
        notes.append(shortened(respelt, 3))
    absent = [name for name in names if name not in matched]
    if absent:
        notes.append(f"not in the dataset, so not detected: {shortened(absent, MOST_NAMES)}")
    logger.warning("classes of the dataset %s are matched by name: %s", dataset.name, "; ".join(notes))


def _message(names: Sequence[str], dataset: Dataset, unknown: Sequence[str] = ()) -> str:
    """What differs, and what to do; `unknown` are classes that the weights do not have, if both have names."""
    ours, theirs = (shortened(some, MOST_NAMES) for some in (names, dataset.class_names))
    parts = [
        f"The weights have {len(names)} classes ({ours}), but the dataset {dataset.name} has "
        f"{len(dataset.class_names)} ({theirs})."
    ]
    if unknown:
        parts.append(
            f"The weights do not have {shortened(unknown, MOST_NAMES)}: if these are their classes under other names, "
            "rename them in the annotations."
        )
        shared = [name for name in dataset.class_names if name not in unknown]
        if 0 < len(shared) <= MOST_NAMES:
            parts.append(f"To evaluate on the classes that both have, pass --data.classes {shlex.join(shared)}.")
    parts.append(
        f"{'Otherwise use' if unknown else 'Use'} the dataset that the weights were trained on, or fine-tune them on "
        "this one first: train --model.weights W."
    )
    return " ".join(parts)
