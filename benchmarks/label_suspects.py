"""Measures how many planted annotation faults `yolox-jax data suspects` shows first, on BCCD.

Of the objects of the training images, a share each has its annotation removed, its class swapped and its box moved, and
as many annotations are added where there is nothing. YOLOX-nano is fine-tuned on these faulty annotations, which is how
the command is used, and on the clean ones. Both detectors then search the faulty annotations. A suspect is right if it
is about a faulty annotation, or if it is a detection of an object whose annotation was removed or moved away. BCCD has
faults of its own, so precision is a lower bound. Training continues where it was stopped.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import CHECKOUT, describe_run, write_json
from planted_faults import Fault, iou, plant, write_faulty
from processes import environment
from yolox_jax import load_config
from yolox_jax.config import DatasetConfig
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.sources import open_dataset
from yolox_jax.evaluation.results import ScoredBoxes
from yolox_jax.evaluation.suspects import SAME_OBJECT_IOU, Suspect, SuspectKind
from yolox_jax.evaluation.suspects_document import describe_suspects
from yolox_jax.evaluation.suspects_search import search_suspects
from yolox_jax.report.suspects import write_suspects
from yolox_jax.training.run_directory import RunDirectory

PACKAGES = ("yolox-jax", "jax", "jaxlib", "flax", "optax", "numpy")
FIRST = (50, 100, 200)
"""Lengths of the beginning of the ranking."""


def main(argv: Sequence[str]) -> None:
    """Trains, searches and reports; `argv` is the command line without the program name."""
    arguments = _parse(argv)
    result = describe_run(PACKAGES)
    result["settings"] = {name: str(value) for name, value in vars(arguments).items()}
    arguments.folder.mkdir(parents=True, exist_ok=True)
    clean = DatasetConfig(format="voc", images=str(arguments.data), split="train")
    content, faults = plant(open_dataset(clean), arguments.share, arguments.seed)
    file = arguments.folder / "faulty.json"
    write_faulty(file, content, faults)
    faulty = DatasetConfig(format="coco", images=str(arguments.data / "JPEGImages"), annotations=str(file))
    result["faults"] = Counter(fault.kind for fault in faults)
    result["detectors"] = {}
    for name, trained_on in (("trained on the faulty annotations", faulty), ("trained on the clean ones", clean)):
        run = arguments.folder / ("faulty" if trained_on is faulty else "clean")
        _train(run, trained_on, arguments)
        result["detectors"][name] = _search(run, open_dataset(faulty), faults)
        print(f"{name}: {result['detectors'][name]['first'][str(FIRST[0])]}", flush=True)
        if arguments.output is not None:
            write_json(arguments.output, result)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="label_suspects.py", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("datasets/bccd"), help="folder of BCCD in VOC layout")
    parser.add_argument("--weights", default="weights/yolox_nano.pth", help="weights to fine-tune")
    parser.add_argument("--folder", type=Path, default=Path("runs/label_suspects"), help="folder for data and runs")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of fine-tuning")
    parser.add_argument("--share", type=float, default=0.05, help="faults of each kind, relative to the objects")
    parser.add_argument("--seed", type=int, default=0, help="seed of the faults")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    return parser.parse_args(argv)


def _train(run: Path, data: DatasetConfig, arguments: argparse.Namespace) -> None:
    command = [sys.executable, str(CHECKOUT / "train.py"), "--config", "bccd_nano", "--workdir", str(run), "--resume"]
    command += ["--model.weights", arguments.weights, "--data.val.images", str(arguments.data)]
    for field in ("format", "images", "annotations", "split"):
        command += [f"--data.train.{field}", getattr(data, field)]
    command += ["--schedule.epochs", str(arguments.epochs), "--evaluation.interval", "5"]
    if subprocess.run(command, env=environment(), check=False).returncode != 0:
        sys.exit(f"error: training failed: {' '.join(command)}")


def _search(run: Path, faulty: Dataset, faults: list[Fault]) -> dict[str, Any]:
    suspects, found, image_ids, threshold = search_suspects(load_config(run), run, faulty)
    document = describe_suspects(
        suspects, faulty, found, image_ids=image_ids, score_threshold=threshold, weights=str(run)
    )
    folder = run / "suspects"
    folder.mkdir(exist_ok=True)
    write_suspects(document, faulty.records, folder, top=FIRST[0], on_progress=lambda done, total: None)
    shown = [faults_shown(suspect, faults, faulty, found) for suspect in suspects]
    of_kind = {
        kind: [hits for suspect, hits in zip(suspects, shown, strict=True) if suspect.kind is kind]
        for kind in SuspectKind
    }
    return {
        "val_AP": round(json.loads(RunDirectory(run).best_metrics.read_text())["AP"], 4),
        "score_threshold": round(threshold, 4),
        "suspects": {kind.value: len(hits) for kind, hits in of_kind.items()},
        "first": {str(count): _figures(suspects[:count], shown[:count], len(faults)) for count in FIRST},
        "first_50_of_kind": {kind.value: _precision(hits[: FIRST[0]]) for kind, hits in of_kind.items()},
        "faults_shown_by_all": {
            kind.value: _share(sum(faults[fault].kind == kind for fault in set().union(*shown)), _count(faults, kind))
            for kind in SuspectKind
        },
    }


def faults_shown(suspect: Suspect, faults: list[Fault], faulty: Dataset, found: ScoredBoxes) -> set[int]:
    """The indices of the faults that a suspect shows."""
    shown = set()
    for index, fault in enumerate(faults):
        if fault.image_id != suspect.image_id:
            continue
        if suspect.annotation is not None:
            hit = faulty.ground_truth["annotations"][suspect.annotation]["source_id"] == fault.annotation_id
        else:
            moved_away = fault.kind in (SuspectKind.MISSING, SuspectKind.MISPLACED)
            hit = moved_away and iou(found.boxes_xywh[suspect.detection], fault.bbox) >= SAME_OBJECT_IOU
        if hit:
            shown.add(index)
    return shown


def _figures(suspects: Sequence[Suspect], shown: Sequence[set[int]], num_faults: int) -> dict[str, Any]:
    of_kind = Counter(suspect.kind.value for suspect in suspects)
    right = Counter(suspect.kind.value for suspect, hits in zip(suspects, shown, strict=True) if hits)
    return {
        "precision": _precision(shown),
        "recall": _share(len(set().union(*shown)), num_faults),
        "highest_possible_recall": _share(min(len(suspects), num_faults), num_faults),
        "right_of_kind": {kind: f"{right[kind]} of {count}" for kind, count in of_kind.items()},
    }


def _precision(shown: Sequence[set[int]]) -> float:
    return _share(sum(bool(hits) for hits in shown), len(shown))


def _count(faults: Sequence[Fault], kind: SuspectKind) -> int:
    return sum(fault.kind == kind for fault in faults)


def _share(count: int, total: int) -> float:
    return round(count / total, 4) if total else 0.0


if __name__ == "__main__":
    main(sys.argv[1:])
