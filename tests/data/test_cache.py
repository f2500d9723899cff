"""The cache of decoded images: the same images, shared, checked against their files, refused where there is no room."""

import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from yolox_jax.config import ConfigError, DataConfig, DatasetConfig
from yolox_jax.data import open_dataset
from yolox_jax.data.cache import disk_file, free_space
from yolox_jax.data.cache.pixel_cache import open_cache
from yolox_jax.data.dataset import Record
from yolox_jax.data.image import BrokenImage, load_image
from yolox_jax.data.letterbox import resize_to_fit

RAM = DataConfig(input_size=(96, 96), cache="ram")


@pytest.fixture
def records(coco_content: dict[str, Any], write_coco: Callable[[dict[str, Any]], DatasetConfig]) -> tuple[Record, ...]:
    return open_dataset(write_coco(coco_content), "train").records


@pytest.fixture
def disk(tmp_path: Path) -> DataConfig:
    return replace(RAM, cache="disk", cache_dir=str(tmp_path / "cache"))


def _file(config: DataConfig) -> Path:
    (path,) = Path(config.cache_dir).glob("*.pixels")
    return path


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_cache_holds_every_image_fitted_to_the_input(records: tuple[Record, ...], disk: DataConfig, kind: str) -> None:
    config = RAM if kind == "ram" else disk
    with open_cache(records, config) as cache:
        assert cache is not None
        for index, record in enumerate(records):
            np.testing.assert_array_equal(cache[index], resize_to_fit(load_image(record), (96, 96))[0])
        with pytest.raises(ValueError, match="read-only"):
            cache[0][:] = 0


def test_cache_on_disk_takes_file_names_that_are_not_utf8(records: tuple[Record, ...], disk: DataConfig) -> None:
    odd = replace(records[0], path=records[0].path.with_name(os.fsdecode(b"caf\xe9.jpg")))
    records[0].path.rename(odd.path)
    for _ in ("written", "read again"):
        with open_cache((odd,), disk) as cache:
            assert cache is not None
            np.testing.assert_array_equal(cache[0], resize_to_fit(load_image(odd), (96, 96))[0])


def test_no_cache_is_made_unless_asked_for(records: tuple[Record, ...]) -> None:
    with open_cache(records, DataConfig()) as cache:
        assert cache is None


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_broken_images_are_named_when_they_are_asked_for(
    records: tuple[Record, ...], disk: DataConfig, kind: str
) -> None:
    records[1].path.write_bytes(b"")
    for _ in range(2):  # made, and for the disk found again
        with open_cache(records, RAM if kind == "ram" else disk) as cache:
            assert cache is not None
            assert cache[2].shape == (72, 96, 3)
            with pytest.raises(BrokenImage, match=r"sub/1\.jpg: is an empty file"):
                cache[1]


def test_another_process_reads_the_same_memory(records: tuple[Record, ...]) -> None:
    program = "import pickle, sys; print(int(pickle.load(sys.stdin.buffer)[3].sum()))"
    with open_cache(records, RAM) as cache:
        assert cache is not None
        sent = pickle.dumps(cache)
        assert len(sent) < 2000
        done = subprocess.run([sys.executable, "-c", program], input=sent, capture_output=True, check=True)
        assert int(done.stdout) == int(cache[3].sum())


def test_memory_is_given_back_at_the_end(records: tuple[Record, ...]) -> None:
    def shared() -> int:
        return Path("/proc/self/maps").read_text().count("yolox_jax-images")

    with open_cache(records, RAM) as cache:
        assert shared() == 1
    del cache
    assert shared() == 0


def test_file_on_disk_is_used_again(
    records: tuple[Record, ...], disk: DataConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with open_cache(records, disk):
        made = _file(disk).stat().st_mtime_ns
    with caplog.at_level(logging.INFO, "yolox_jax.data"), open_cache(records, disk):
        assert _file(disk).stat().st_mtime_ns == made
    assert f"using the decoded images in {_file(disk)}" in caplog.text


@pytest.mark.parametrize("fault", ["image changed", "cut short", "garbage", "older version", "annotated size"])
def test_file_on_disk_that_does_not_fit_is_made_anew(
    records: tuple[Record, ...], disk: DataConfig, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "older version":
        with monkeypatch.context() as patched:
            patched.setattr(disk_file, "VERSION", 0)
            with open_cache(records, disk):
                pass
    else:
        with open_cache(records, disk):
            pass
    path = _file(disk)
    if fault == "image changed":
        records[0].path.write_bytes(records[1].path.read_bytes())
    elif fault == "cut short":
        os.truncate(path, path.stat().st_size - 5)
    elif fault == "garbage":
        path.write_bytes(b"{}")
    elif fault == "annotated size":
        records = (replace(records[0], height=47), *records[1:])
    os.utime(path, ns=(0, 0))  # clocks of file systems are coarse: the new file could have the time of the old one
    with open_cache(records, disk) as cache:
        assert cache is not None
        assert _file(disk) != path or path.stat().st_mtime_ns > 0
        if fault == "annotated size":
            with pytest.raises(BrokenImage, match="annotations say 64x47"):
                cache[0]
        else:
            np.testing.assert_array_equal(cache[0], resize_to_fit(load_image(records[0]), (96, 96))[0])
    assert [entry.suffix for entry in sorted(Path(disk.cache_dir).iterdir())] == [".pixels", ".lock"]


def test_image_that_can_be_read_again_is_taken_up(records: tuple[Record, ...], disk: DataConfig) -> None:
    away = records[1].path.rename(records[1].path.with_suffix(".away"))
    status = away.stat()
    with open_cache(records, disk) as cache:
        assert cache is not None
        with pytest.raises(BrokenImage):
            cache[1]
    away.rename(records[1].path)
    os.utime(records[1].path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with open_cache(records, disk) as cache:
        assert cache is not None
        assert cache[1].shape == (72, 96, 3)


def test_a_process_that_starts_late_reads_what_its_run_opened(records: tuple[Record, ...], disk: DataConfig) -> None:
    program = "import pickle, sys; print(int(pickle.load(sys.stdin.buffer)[0].sum()))"
    with open_cache(records, disk) as cache:
        assert cache is not None
        expected = int(cache[0].sum())
        records[0].path.write_bytes(records[1].path.read_bytes())
        with open_cache(records, disk) as other:  # takes the place of the first file
            assert other is not None
            assert int(other[0].sum()) != expected
            done = subprocess.run(
                [sys.executable, "-c", program], input=pickle.dumps(cache), capture_output=True, check=True
            )
            assert int(done.stdout) == expected


def test_filling_that_is_broken_off_leaves_nothing_and_what_a_kill_left_is_removed(
    records: tuple[Record, ...], disk: DataConfig
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), open_cache(records, disk, on_image=stop):
        pass
    (lock,) = Path(disk.cache_dir).iterdir()
    assert lock.suffix == ".lock"
    left = lock.with_name(f".{lock.stem}-killed")
    left.write_bytes(b"half")
    with open_cache(records, disk):
        assert not left.exists()


def test_other_input_sizes_have_files_of_their_own(records: tuple[Record, ...], disk: DataConfig) -> None:
    for size, height in (((96, 96), 72), ((32, 96), 32)):
        with open_cache(records, replace(disk, input_size=size)) as cache:
            assert cache is not None
            assert cache[0].shape[0] == height
    assert len(list(Path(disk.cache_dir).glob("*.pixels"))) == 2


def test_folder_that_cannot_be_used_is_named(records: tuple[Record, ...], disk: DataConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = r"--data.cache-dir .*file cannot be used: File exists. Pass another"
    with (
        pytest.raises(ConfigError, match=message),
        open_cache(records, replace(disk, cache_dir=str(tmp_path / "file"))),
    ):
        pass


def test_cache_is_refused_with_figures_where_there_is_no_room(
    records: tuple[Record, ...], disk: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(free_space, "free_memory", lambda: 100_000)
    message = r"--data.cache ram: 5 images .* need .* MiB, but only .* of memory can be used. Use --data.cache disk"
    with pytest.raises(ConfigError, match=message), open_cache(records, RAM):
        pass
    monkeypatch.setattr(free_space.shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    message = r"--data.cache disk: 5 images .* need .* MiB, but only .* is free in .*. Pass another --data.cache-dir"
    with pytest.raises(ConfigError, match=message), open_cache(records, disk):
        pass
    assert not list(Path(disk.cache_dir).glob("*.pixels"))


FILES_OF_VERSION = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


@pytest.mark.parametrize("narrowest", ["", "job", "job/step"])
@pytest.mark.parametrize("version", [1, 2])
def test_free_memory_is_what_the_narrowest_limit_leaves(tmp_path: Path, version: int, narrowest: str) -> None:
    listed = {1: "9:cpu:/x\n4:blkio,memory:/job/step\n", 2: "0::/job/step\n"}[version]
    (tmp_path / "list").write_text(listed)
    top = tmp_path / "cgroup" / ("memory" if version == 1 else "")
    limit_file, used_file, file_cache = FILES_OF_VERSION[version]
    for name in ("", "job", "job/step"):
        (top / name).mkdir(parents=True, exist_ok=True)
        limit = "1000000\n" if name == narrowest else "max\n" if version == 2 else f"{2**62}\n"
        (top / name / limit_file).write_text(limit)
        (top / name / used_file).write_text("700000\n")
        (top / name / "memory.stat").write_text(f"anon 600000\n{file_cache} 50000\n")
    assert free_space.free_memory(tmp_path / "cgroup", tmp_path / "list") == 350_000


def test_free_memory_without_control_groups_is_that_of_the_machine(tmp_path: Path) -> None:
    assert free_space.free_memory(tmp_path, tmp_path / "none") > 1_000_000
