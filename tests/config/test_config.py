import copy
import dataclasses
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from yolox_jax.config import (
    AssignmentConfig,
    AugmentConfig,
    Config,
    ConfigError,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    ScheduleConfig,
    TrainConfig,
)
from yolox_jax.config.checks import check_anchor_boxes, check_config, check_multiscale_range
from yolox_jax.config.files import load_config, shipped_configs
from yolox_jax.config.serialization import config_from_dict, config_to_dict, flag

SHIPPED = [
    "bccd_nano",
    "finetune",
    "quickstart",
    "roadmap/anchor_free",
    "roadmap/coupled_end_to_end",
    "roadmap/decoupled_end_to_end",
    "roadmap/decoupled_head",
    "roadmap/l_with_mixup",
    "roadmap/l_without_mixup",
    "roadmap/multi_positives",
    "roadmap/nano_strong_augmentation",
    "roadmap/nano_weak_augmentation",
    "roadmap/nms_free",
    "roadmap/ota",
    "roadmap/simota",
    "roadmap/strong_augmentation",
    "roadmap/yolov3_baseline",
    "yolox_darknet53",
    "yolox_l",
    "yolox_m",
    "yolox_nano",
    "yolox_s",
    "yolox_tiny",
    "yolox_x",
]


def settings(section: Any, prefix: str = "") -> dict[str, Any]:
    """Every setting by its dotted name."""
    found = {}
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        name = prefix + field.name
        found.update(settings(value, name + ".") if dataclasses.is_dataclass(value) else {name: value})
    return found


def replaced(section: Any, name: str, value: Any) -> Any:
    """The section with one setting changed by its dotted name, to a value of any type."""
    first, _, rest = name.partition(".")
    changed = copy.copy(section)
    # Not through __init__, whose types are checked here but not in use (see conftest).
    object.__setattr__(changed, first, replaced(getattr(section, first), rest, value) if rest else value)
    return changed


def is_number(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(map(is_number, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


NUMBERS = {name: value for name, value in settings(Config()).items() if is_number(value)}


def write_config(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path


def test_configs_are_shipped_under_their_paths_below_the_folder() -> None:
    assert list(shipped_configs()) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_config_loads_by_name_and_by_path_and_documents_itself(name: str) -> None:
    path = shipped_configs()[name]
    config = load_config(name)
    assert config == load_config(path)
    assert config.model.variant == name or name.startswith(("bccd_nano", "finetune", "quickstart", "roadmap/"))
    for part in ("Reproduces:", "Expected:", "Cost:", f"configs/{name}.py"):
        assert part in path.read_text()


def test_small_variants_have_the_published_augmentation_and_sizes() -> None:
    nano, tiny, small = (load_config(name) for name in ("yolox_nano", "yolox_tiny", "yolox_s"))
    for config in (nano, tiny):
        assert config.data.input_size == (416, 416)
        assert config.train.multiscale_px == (320, 640)
        assert config.data.augment.mosaic_scale == (0.5, 1.5)
        assert config.data.augment.mixup_probability == 0
    assert nano.data.augment.mosaic_probability == 0.5
    assert tiny.data.augment.mosaic_probability == 1
    assert small.data.input_size == (640, 640)
    assert small.train.multiscale_px == (480, 800)
    assert small.data.augment.mosaic_scale == (0.1, 2)
    assert small.data.augment.mixup_probability == 1


def test_unknown_name_tells_the_nearest_and_the_others() -> None:
    with pytest.raises(ConfigError, match=r"no config yolo_nano; did you mean yolox_nano\?.*quickstart"):
        load_config("yolo_nano")


@pytest.mark.parametrize("name", ["ota", "otta", "roadmap/otta", "configs/roadmap/otta.py"])
def test_unknown_name_tells_the_nearest_in_a_folder(name: str) -> None:
    with pytest.raises(ConfigError, match=r"did you mean roadmap/ota\?"):
        load_config(name)


@pytest.mark.parametrize("name", ["roadmap", "roadmap/"])
def test_folder_of_configs_tells_their_names(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is a folder of shipped configs.*roadmap/nms_free, roadmap/ota"):
        load_config(name)


def test_missing_path_tells_the_path() -> None:
    with pytest.raises(ConfigError, match=r"no config configs/yolox_ss\.py; did you mean"):
        load_config("configs/yolox_ss.py")


def test_error_inside_a_config_file_is_shown_with_its_line_and_chained(tmp_path: Path) -> None:
    path = write_config(tmp_path, "def get_config():\n    return 1 / 0\n")
    with pytest.raises(ConfigError, match=r"mine\.py failed: ZeroDivisionError: .* \(line 2\)") as caught:
        load_config(path)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_misspelt_setting_in_a_config_file_tells_the_nearest(tmp_path: Path) -> None:
    text = "from yolox_jax.config import DataConfig\ndef get_config():\n    return DataConfig(input_sise=(64, 64))\n"
    # Without the checker of types, which has an error of its own (see conftest).
    script = f"from yolox_jax.config.files import load_config\nload_config({str(write_config(tmp_path, text))!r})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "input_sise' (line 3); did you mean input_size?" in done.stderr


def test_syntax_error_in_a_config_file_is_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"SyntaxError: .*line 1"):
        load_config(write_config(tmp_path, "def get_config(:\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", r"must define a function get_config\(\)"),
        ("def get_config():\n    return {}\n", "must return a yolox_jax.config.Config, got dict"),
    ],
)
def test_file_that_is_no_config_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write_config(tmp_path, text))


def test_config_file_can_build_on_a_shipped_config(tmp_path: Path) -> None:
    path = write_config(
        tmp_path,
        "import dataclasses\nfrom yolox_jax.config.files import load_config\n"
        "def get_config():\n    return dataclasses.replace(load_config('yolox_s'), seed=7)\n",
    )
    assert load_config(path) == dataclasses.replace(load_config("yolox_s"), seed=7)


@pytest.mark.parametrize("name", NUMBERS)
def test_number_out_of_range_is_named_as_on_the_command_line(name: str) -> None:
    value = NUMBERS[name]
    wrong = [-64.0, math.nan] if isinstance(value, float) else [-64]
    if isinstance(value, tuple):
        wrong = [(type(value[0])(-64), *value[1:])]
    for bad in wrong:
        with pytest.raises(ConfigError, match=rf"{re.escape(flag(name))} .*must be .*got (-64|nan)"):
            check_config(replaced(Config(), name, bad))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("hsv_gains", (40000.0, 30.0, 30.0), "value 1 must be at least 0 and at most 180, got 40000"),
        ("hsv_gains", (5.0, 30.0, 256.0), "value 3 must be at least 0 and at most 255, got 256"),
        ("shear_degrees", 45.0, "must be at least 0 and below 45, got 45"),
        ("mosaic_scale", (2.0, 0.1), "must be in ascending order, got 2 0.1; try 0.1 2"),
        ("mixup_scale", (0.0, 1.0), "value 1 must be above 0, got 0"),
        ("flip_probability", 1.01, "must be at least 0 and at most 1, got 1.01"),
        ("min_side_px", math.inf, "must be finite and at least 0, got inf"),
    ],
)
def test_augmentation_beyond_its_bounds_is_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_config(replaced(Config(), f"data.augment.{name}", value))


def test_augmentation_at_its_bounds_is_allowed() -> None:
    augment = AugmentConfig(hsv_gains=(180.0, 255.0, 255.0), shear_degrees=44.9, mosaic_scale=(1.0, 1.0))
    check_config(Config(data=DataConfig(augment=augment)))


def test_a_config_needs_no_data() -> None:
    check_config(Config())
    for dataset in (Config().data.train, Config().data.val):
        assert (dataset.images, dataset.annotations, dataset.split) == ("", "", "")


@pytest.mark.parametrize("name", NUMBERS)
def test_number_of_a_wrong_type_is_named_as_on_the_command_line(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{flag(name)} must be .*(integer|number|values|one of).*, got many"):
        check_config(replaced(Config(), name, "many"))


def test_input_size_off_the_stride_tells_the_nearest_multiples() -> None:
    with pytest.raises(ConfigError, match=r"--data\.input-size must be .*32, got 650 40; try 640 32$"):
        check_config(Config(data=DataConfig(input_size=(650, 40))))


def test_multiscale_range_is_checked_unless_it_is_off() -> None:
    check_config(Config(train=TrainConfig(multiscale_px=None)))
    check_config(Config(train=TrainConfig(multiscale_px=(640, 640))))
    with pytest.raises(
        ConfigError, match="--train.multiscale-px must be .*in ascending order, got 800 480; try 480 800"
    ):
        check_config(Config(train=TrainConfig(multiscale_px=(800, 480))))
    with pytest.raises(ConfigError, match="--train.multiscale-px must be .*multiples of 32 .*got 500 800; try 512 800"):
        check_config(Config(train=TrainConfig(multiscale_px=(500, 800))))


def test_multiscale_range_without_the_evaluation_size_is_refused_with_one_that_has_it() -> None:
    with pytest.raises(ConfigError, match="must include the input height 416 .*--train.multiscale-px 256 576"):
        check_multiscale_range(Config(data=DataConfig(input_size=(416, 416))))
    data = DataConfig(input_size=(416, 416))
    check_multiscale_range(Config(data=data, train=TrainConfig(multiscale_px=(256, 576))))
    check_multiscale_range(Config(data=data, train=TrainConfig(multiscale_px=None)))
    check_config(Config(data=data))  # evaluation at another size is sound


@pytest.mark.parametrize(("epochs", "warmup", "no_aug"), [(20, 5.0, 15), (5, 0.0, 5), (2, 5.0, 0)])
def test_schedule_that_leaves_no_main_phase_is_refused_with_one_that_works(
    epochs: int, warmup: float, no_aug: int
) -> None:
    schedule = ScheduleConfig(epochs=epochs, warmup_epochs=warmup, no_aug_epochs=no_aug)
    with pytest.raises(ConfigError, match=f"must sum to less than --schedule.epochs {epochs}\\.") as caught:
        check_config(Config(schedule=schedule))
    words = str(caught.value).split(" try ")[1].split()
    better = dataclasses.replace(schedule, warmup_epochs=float(words[1]), no_aug_epochs=int(words[3]))
    check_config(Config(schedule=better))


def test_one_epoch_without_extra_phases_is_allowed() -> None:
    config = Config(schedule=ScheduleConfig(epochs=1, warmup_epochs=0.0, no_aug_epochs=0))
    check_config(config)
    assert config_from_dict(config_to_dict(config)) == config


def test_all_wrong_settings_are_told_at_once() -> None:
    config = Config(data=DataConfig(max_boxes=0), train=TrainConfig(batch_size=0), seed=-1)
    with pytest.raises(ConfigError, match="3 settings are invalid") as caught:
        check_config(config)
    assert all(name in str(caught.value) for name in ("--data.max-boxes", "--train.batch-size", "--seed"))


@pytest.mark.parametrize("name", SHIPPED)
def test_config_survives_json(name: str) -> None:
    config = load_config(name)
    back = config_from_dict(json.loads(json.dumps(config_to_dict(config))))
    assert back == config
    assert hash(back) == hash(config)  # lists in place of tuples would not hash


def test_settings_that_json_leaves_out_have_their_defaults() -> None:
    assert config_from_dict({"data": {"max_boxes": 7}}) == Config(data=DataConfig(max_boxes=7))


@pytest.mark.parametrize("loggers", [(), ("wandb",), ("wandb", "tensorboard", "mlflow")])
@pytest.mark.parametrize("freeze", [(), ("backbone", "head.stems.*")])
def test_lists_of_any_length_survive_json(loggers: Any, freeze: tuple[str, ...]) -> None:
    config = Config(model=ModelConfig(freeze=freeze), train=TrainConfig(loggers=loggers))
    check_config(config)
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": {"input_sise": [640, 640]}}, r"unknown setting data\.input_sise; did you mean data\.input_size\?"),
        ({"data": {"input_size": [640]}}, "--data.input-size must be 2 values: .*, got 640"),
        (
            {"train": {"loggers": "wandb"}},
            "--train.loggers must be a list of any length, each one of tensorboard, wandb, mlflow, got wandb",
        ),
        (
            {"train": {"loggers": ["wandb", "csv"]}},
            r"--train.loggers must be one of tensorboard, wandb, mlflow, got csv \(str\)",
        ),
        ({"model": {"freeze": ["head", 3]}}, r"--model.freeze must be a string, got 3 \(int\)"),
        (
            {"data": {"train": {"format": "cocoo"}}},
            "--data.train.format must be one of coco, voc, yolo, tfds, shapes, got cocoo",
        ),
        ({"schedule": {"epochs": 3.5}}, "--schedule.epochs must be an integer, got 3.5"),
        ({"train": {"batch_size": True}}, "--train.batch-size must be an integer, got True"),
        ({"train": 3}, "--train must be a section of settings, got 3"),
    ],
)
def test_json_that_is_no_config_is_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_dict(values)


def test_the_settings_of_a_run_are_a_config(tmp_path: Path) -> None:
    config = dataclasses.replace(load_config("yolox_s"), seed=7)
    (tmp_path / "config.json").write_text(json.dumps(config_to_dict(config)))
    assert load_config(tmp_path) == load_config(tmp_path / "config.json") == config


def test_a_shipped_name_is_that_config_whatever_lies_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config("yolox_s").seed == 0
    assert not caplog.text
    Path("yolox_s").mkdir()
    (tmp_path / "yolox_s" / "config.json").write_text(json.dumps(config_to_dict(Config(seed=7))))
    assert load_config("yolox_s").seed == 0
    assert "yolox_s means the shipped config; pass ./yolox_s for the local" in caplog.text
    assert load_config("./yolox_s").seed == load_config(Path("yolox_s")).seed == 7


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not a run directory: it has no config\.json.*quickstart"):
        load_config(tmp_path)


def test_runs_that_recorded_unused_paths_of_coco_still_load(tmp_path: Path) -> None:
    coco = {"images": "datasets/COCO/train2017", "annotations": "datasets/COCO/annotations/instances_train2017.json"}
    val = {"format": "voc", "images": "mine", "annotations": "datasets/COCO/annotations/instances_val2017.json"}
    values = {"data": {"train": {"format": "yolo", **coco, "annotations": "data.yaml"}, "val": val}}
    (tmp_path / "config.json").write_text(json.dumps(values))
    data = load_config(tmp_path).data
    assert (data.train.images, data.train.annotations) == ("", "data.yaml")
    assert (data.val.images, data.val.annotations) == ("mine", "")
    (tmp_path / "config.json").write_text(json.dumps({"data": {"train": coco}}))
    assert load_config(tmp_path).data.train.images == "datasets/COCO/train2017"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "must hold the settings of a run"),
        ('{"sed": 1}', "unknown setting sed; did you mean seed?"),
        ('{"train": {"batch_size": 0}}', "--train.batch-size must be at least 1, got 0"),
    ],
)
def test_settings_of_a_run_that_cannot_be_read_are_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=f"{re.escape(str(tmp_path))}/config.json:? .*{re.escape(message)}"):
        load_config(tmp_path)


NINE = tuple((float(size), float(size)) for size in range(1, 10))


@pytest.mark.parametrize(
    ("anchors", "rule", "message"),
    [
        (NINE, "simota", r"--model.anchors has no use with --assignment.rule simota"),
        (NINE, "ota", r"--model.anchors has no use with --assignment.rule ota"),
        (NINE[:8], "yolov3", "--model.anchors must hold .* 3 levels, got 8 in all; pass 9"),
        (NINE[:1], "yolov3", "--model.anchors must hold .* 3 levels, got 1 in all; pass 3"),
        (((1.0, 0.0), *NINE[1:]), "yolov3", r"--model.anchors .* group 1, 1 0: value 2 must be above 0"),
    ],
)
def test_anchor_boxes_that_do_not_go_with_the_rule_are_refused(anchors: Any, rule: Any, message: str) -> None:
    config = Config(model=ModelConfig(anchors=anchors), assignment=AssignmentConfig(rule=rule))
    with pytest.raises(ConfigError, match=message):
        check_config(config)


def test_a_rule_that_needs_anchor_boxes_names_the_command_that_finds_them() -> None:
    config = Config(assignment=AssignmentConfig(rule="yolov3"))
    check_config(config)  # so that this command can read the config
    with pytest.raises(ConfigError, match="--assignment.rule yolov3 needs anchor boxes: .*data anchors"):
        check_anchor_boxes(config)


def test_anchor_boxes_with_the_rule_that_uses_them_are_accepted() -> None:
    check_config(Config(model=ModelConfig(anchors=NINE), assignment=AssignmentConfig(rule="yolov3")))


@pytest.mark.parametrize("end_to_end", [False, True])
def test_suppression_in_the_evaluation_must_suit_the_network(end_to_end: bool) -> None:
    for nms in (None, not end_to_end):
        check_config(Config(model=ModelConfig(end_to_end=end_to_end), evaluation=EvaluationConfig(nms=nms)))
    with pytest.raises(ConfigError) as caught:
        check_config(Config(model=ModelConfig(end_to_end=end_to_end), evaluation=EvaluationConfig(nms=end_to_end)))
    message = str(caught.value)
    assert f"--evaluation.nms {end_to_end} does not suit" in message
    assert f"or use a network with --model.end-to-end {not end_to_end}" in message
