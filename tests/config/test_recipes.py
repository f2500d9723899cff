"""Shipped configs record whole experiments, whatever the defaults of the schema become."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from yolox_jax import config as schema
from yolox_jax.config.files import load_config, shipped_configs
from yolox_jax.config.serialization import config_to_dict, flatten

RECORDED = Path(__file__).parent / "recorded"
SECTIONS = [section for section in vars(schema).values() if dataclasses.is_dataclass(section)]


def test_all_shipped_configs_are_recorded() -> None:
    recorded = [path.relative_to(RECORDED).with_suffix("").as_posix() for path in sorted(RECORDED.rglob("*.json"))]
    assert recorded == list(shipped_configs())


@pytest.mark.parametrize("name", shipped_configs())
def test_shipped_config_is_the_experiment_on_record(name: str) -> None:
    recorded = flatten(json.loads((RECORDED / f"{name}.json").read_text()))
    values = flatten(json.loads(json.dumps(config_to_dict(load_config(name)))))
    assert values == recorded


@pytest.mark.parametrize("name", shipped_configs())
def test_shipped_config_relies_on_no_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    defaulted = []

    def spy(section: Any) -> None:
        original = section.__init__

        def init(self: Any, *values: Any, **settings: Any) -> None:
            names = [field.name for field in dataclasses.fields(section)][len(values) :]
            defaulted.extend(f"{section.__name__}.{name}" for name in names if name not in settings)
            original(self, *values, **settings)

        monkeypatch.setattr(section, "__init__", init)

    for section in SECTIONS:
        spy(section)
    load_config(name)
    assert defaulted == []
    schema.TrainConfig(batch_size=1)
    assert "TrainConfig.precision" in defaulted  # the spies see it
