"""Images with other channels and bits than three and eight: reading, batches, cache, errors."""

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolox_jax.config import AugmentConfig, Config, ConfigError, DataConfig, DatasetConfig, ScheduleConfig, TrainConfig
from yolox_jax.data.augment.colour import shift_hsv
from yolox_jax.data.cache.pixel_cache import open_cache
from yolox_jax.data.channels import to_picture
from yolox_jax.data.dataset import DataError, Dataset, with_pixel_format
from yolox_jax.data.doctor.examine import examine
from yolox_jax.data.header import image_sizes
from yolox_jax.data.image import BrokenImage, load_image, read_image, read_picture
from yolox_jax.data.letterbox import PADDING, letterbox, resize_to_fit
from yolox_jax.data.pipeline import evaluation_batches, load_training_batch, training_batches
from yolox_jax.data.pixel_format import BGR8, PixelFormat
from yolox_jax.data.sources import open_datasets, use_dataset
from yolox_jax.data.sources.python_items import make_dataset
from yolox_jax.data.sources.shapes import ensure_shapes

RNG = np.random.default_rng(0)
BANDS = RNG.integers(0, 65536, (30, 44, 5)).astype(np.uint16)
COLOURS = RNG.integers(0, 256, (30, 44, 4), np.uint8)


def _write(folder: Path, name: str, image: np.ndarray) -> Path:
    path = folder / name
    if path.suffix == ".npy":
        np.save(path, image)
    elif path.suffix == ".tif":
        assert cv2.imwritemulti(str(path), list(np.moveaxis(image, 2, 0)))
    else:
        assert cv2.imwrite(str(path), image)
    return path


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("bands.npy", BANDS),
        ("bands.tif", BANDS),
        ("colours.npy", COLOURS),
        ("rgba.png", COLOURS),
        ("deep.png", BANDS[..., :3]),
        ("deep_alpha.png", BANDS[..., :4]),
        ("grey.png", COLOURS[..., :1]),
        ("deep_grey.png", BANDS[..., :1]),
        ("page.tif", BANDS[..., :1]),
    ],
)
def test_all_channels_and_bits_of_a_file_are_read(tmp_path: Path, name: str, image: np.ndarray) -> None:
    path = _write(tmp_path, name, image)
    read = read_image(path, PixelFormat.of(image))
    assert read.dtype == image.dtype
    np.testing.assert_array_equal(read, image)
    assert image_sizes([path]) == [(30, 44)]


@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_samples_of_tiff_files_are_read(tmp_path: Path, planar: Any, photometric: Any) -> None:
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "samples.tif"
    ordered = BANDS[..., [2, 1, 0, 3, 4]] if photometric == "rgb" else BANDS
    stored = ordered if planar == "contig" else np.moveaxis(ordered, 2, 0)
    tifffile.imwrite(path, stored, photometric=photometric, planarconfig=planar, compression="zlib")
    np.testing.assert_array_equal(read_image(path, PixelFormat(5, 16)), BANDS)
    assert image_sizes([path]) == [(30, 44)]


def test_tiff_that_needs_a_package_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "samples.tif"
    tifffile.imwrite(path, BANDS, photometric="minisblack", planarconfig="contig")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(BrokenImage, match=r"samples\.tif: .* 5 samples a pixel.*pip install 'yolox-jax\[tiff\]'"):
        read_image(path, PixelFormat(5, 16))


@pytest.mark.parametrize(
    ("name", "image", "pixels", "why"),
    [
        ("bands.npy", BANDS, PixelFormat(4, 16), "has 5 channels of 16 bits instead of 4 channels of 16 bits"),
        ("bands.tif", BANDS, PixelFormat(5, 8), "has 5 channels of 16 bits instead of 5 channels of 8 bits"),
        ("rgb.png", COLOURS[..., :3], PixelFormat(4, 8), "has 3 channels .* instead of 4 .*--data.channels"),
        ("bands.npy", BANDS, BGR8, "has 5 channels .* instead of 3"),
        ("deep.png", BANDS[..., :1], PixelFormat(1, 8), "has 1 channel of 16 bits .*--data.bits"),
        ("floats.npy", BANDS.astype(np.float32), PixelFormat(5, 16), "values of type float32; convert them"),
        ("row.npy", BANDS[0, 0], PixelFormat(5, 16), "an array of shape"),
    ],
)
def test_other_channels_or_bits_than_set_are_named(
    tmp_path: Path, name: str, image: np.ndarray, pixels: PixelFormat, why: str
) -> None:
    path = _write(tmp_path, name, image)
    with pytest.raises(BrokenImage, match=rf"{name}: .*{why}"):
        read_image(path, pixels)


def test_truncated_arrays_and_stacks_are_broken(tmp_path: Path) -> None:
    for name in ("bands.npy", "bands.tif"):
        path = _write(tmp_path, name, BANDS)
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(BrokenImage, match=name):
            read_image(path, PixelFormat(5, 16))


def test_colours_become_grey_grey_becomes_colours_and_8_bits_become_16(tmp_path: Path) -> None:
    colours = COLOURS[..., :3].copy()
    grey = cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY)[..., None]
    for name in ("colours.png", "colours.npy"):
        path = _write(tmp_path, name, colours)
        np.testing.assert_allclose(read_image(path, PixelFormat(1, 8)), grey, atol=1)  # libpng rounds otherwise
        np.testing.assert_array_equal(read_image(path, PixelFormat(3, 16)), colours.astype(int) * 257)
    for name in ("grey.png", "grey.npy"):
        path = _write(tmp_path, name, grey)
        np.testing.assert_array_equal(read_image(path), np.repeat(grey, 3, axis=2))
        np.testing.assert_array_equal(read_image(path, PixelFormat(1, 16)), grey.astype(int) * 257)


def test_pictures_show_grey_or_the_first_three_channels(tmp_path: Path) -> None:
    picture = to_picture(BANDS)
    np.testing.assert_array_equal(picture, BANDS[..., :3] // 257)
    np.testing.assert_array_equal(to_picture(COLOURS[..., :1]), np.repeat(COLOURS[..., :1], 3, axis=2))
    for name in ("bands.npy", "bands.tif"):
        np.testing.assert_array_equal(read_picture(_write(tmp_path, name, BANDS)), picture)


def test_padding_is_as_bright_in_16_bits() -> None:
    assert (letterbox(BANDS, (64, 64))[0][-1, -1] == PADDING * 257).all()
    np.testing.assert_array_equal(
        letterbox(COLOURS[..., :1], (64, 64))[0][:43], resize_to_fit(COLOURS, (64, 64))[0][..., :1]
    )


def test_colour_shifts_of_16_bits_are_those_of_8() -> None:
    image, shifts = COLOURS[..., :3].copy(), np.array([20, -30, 25], np.int16)
    wide = shift_hsv(image.astype(np.uint16) * np.uint16(257), shifts)
    difference = np.abs(wide / 257 - shift_hsv(image, shifts))
    assert difference.mean() < 2  # OpenCV's hue of 8 bits has 180 levels
    assert difference.mean() < 0.1 * np.abs(image / 1.0 - shift_hsv(image, shifts)).mean()


def _dataset(channels: int, *, wide: bool = False) -> Dataset:
    """The same six images with their colours repeated up to a number of channels."""
    items = []
    for index in range(6):
        image = np.random.default_rng(index).integers(0, 256, (50 + index, 70, 3), np.uint8)
        image = cv2.GaussianBlur(image, (5, 5), 0)[..., np.arange(channels) % 3]
        image = image.astype(np.uint16) * np.uint16(257) if wide else image
        items.append((image, [[5, 6, 40, 45]], [index % 2]))
    return make_dataset(items, ["a", "b"])


def _config(channels: int, bits: int = 8, *, hsv: float = 0.0, flip: float = 0.5) -> Config:
    return Config(
        data=DataConfig(
            input_size=(64, 96),
            channels=channels,
            bits=bits,
            max_boxes=20,
            num_threads=1,
            augment=AugmentConfig(hsv_probability=hsv, flip_probability=flip),
        ),
        schedule=ScheduleConfig(epochs=2, no_aug_epochs=1, warmup_epochs=0.5),
        train=TrainConfig(batch_size=3),
    )


def _batches(dataset: Dataset, config: Config) -> list[dict[str, np.ndarray]]:
    """Those of a mosaic epoch, then those of an epoch without."""
    with training_batches(use_dataset(dataset, config.data, "train", argument="train_set"), config) as batches:
        return list(batches)


def test_channels_are_augmented_alike() -> None:
    colours = _batches(_dataset(3), _config(3))
    for channels in (1, 4, 7):
        for batch, other in zip(colours, _batches(_dataset(channels), _config(channels)), strict=True):
            np.testing.assert_array_equal(other["images"], batch["images"][..., np.arange(channels) % 3])
            np.testing.assert_array_equal(other["boxes"], batch["boxes"])


def test_colours_are_shifted_only_where_there_are_three_channels() -> None:
    # The flip, off here, is drawn after the shifts.
    for channels, is_shifted in ((3, True), (4, False)):
        plain = _batches(_dataset(channels), _config(channels, flip=0.0))[0]["images"]
        shifted = _batches(_dataset(channels), _config(channels, hsv=1.0, flip=0.0))[0]["images"]
        assert (plain != shifted).any() == is_shifted


@pytest.mark.parametrize("channels", [3, 4])
def test_batches_of_16_bits_are_those_of_8_with_fractions(channels: int) -> None:
    hsv = float(channels == 3)
    narrow = _batches(_dataset(channels), _config(channels, hsv=hsv))
    wide = _batches(_dataset(channels, wide=True), _config(channels, 16, hsv=hsv))
    for batch, other in zip(narrow, wide, strict=True):
        assert other["images"].dtype == np.uint16
        difference = np.abs(other["images"] / 257 - batch["images"])
        assert difference.mean() < 1.5 and (channels == 3 or difference.max() <= 1.5)
        assert (other["images"] % 257).any()
        np.testing.assert_array_equal(other["boxes"], batch["boxes"])


def test_hooks_get_and_return_the_channels() -> None:
    seen = []

    def hook(image: np.ndarray, boxes: Any, classes: Any, rng: Any) -> tuple[Any, Any, Any]:
        seen.append((image.shape[2], image.dtype))
        return image, boxes, classes

    from yolox_jax.data.hooks import Hooks

    config = _config(4, 16)
    dataset = use_dataset(_dataset(4, wide=True), config.data, "train", argument="train_set")
    plain = load_training_batch(dataset, config, 0, range(3))[0]
    hooked = load_training_batch(dataset, config, 0, range(3), hooks=Hooks(before_mosaic=hook, after_mosaic=hook))[0]
    assert set(seen) == {(4, np.dtype(np.uint16))}
    np.testing.assert_array_equal(hooked["boxes"], plain["boxes"])
    with pytest.raises(DataError, match=r"must be uint16 \[H, W, 4\]"):
        load_training_batch(
            dataset, config, 0, range(3), hooks=Hooks(after_mosaic=lambda image, *rest: (image[..., :3], *rest[:2]))
        )


def test_evaluation_batches_have_the_format_of_the_dataset() -> None:
    dataset = _dataset(4, wide=True)
    (batch,) = evaluation_batches(dataset, (64, 96), 8, num_threads=1)
    assert (batch["images"].shape, batch["images"].dtype) == ((8, 64, 96, 4), np.uint16)
    assert (batch["images"][7] == PADDING * 257).all()


def test_python_arrays_of_another_format_than_set_are_refused() -> None:
    with pytest.raises(ConfigError, match="train_set have 4 channels of 16 bits.*Set data.channels to 4 and data.bits"):
        use_dataset(_dataset(4, wide=True), DataConfig(), "train", argument="train_set")
    colours = _dataset(3)
    with pytest.raises(ConfigError, match="train_set have 3 channels of 8 bits, but the config asks for 4 channels"):
        use_dataset(colours, DataConfig(channels=4), "train", argument="train_set")
    assert use_dataset(colours, DataConfig(channels=1, bits=16), "train", argument="train_set").records, "converted"
    mixed = [(BANDS, [], []), (BANDS[..., :4], [], [])]
    with pytest.raises(DataError, match=r"items\[1\]: the image must be uint16 \[H, W, 5\], like the others"):
        make_dataset(mixed, ["a"])


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_cache_has_a_layout_for_each_format(tmp_path: Path, kind: Any) -> None:
    paths = [_write(tmp_path, f"{index}.png", COLOURS[: 20 + index, :, :3]) for index in range(3)]
    dataset = make_dataset([(path, [], []) for path in paths], ["a"])
    for pixels in 2 * [BGR8, PixelFormat(3, 16), PixelFormat(1, 8)]:
        config = DataConfig(
            input_size=(64, 96), channels=pixels.channels, bits=pixels.bits, cache=kind, cache_dir=str(tmp_path)
        )
        records = with_pixel_format(dataset, pixels).records
        with open_cache(records, config) as cache:
            assert cache is not None
            for index, record in enumerate(records):
                np.testing.assert_array_equal(cache[index], resize_to_fit(load_image(record), (64, 96))[0])
                assert PixelFormat.of(cache[index]) == pixels
    assert len(list(tmp_path.glob("*.pixels"))) == (3 if kind == "disk" else 0)


def _coco(folder: Path, channels: int) -> DataConfig:
    """A few of the generated shapes as arrays."""
    ensure_shapes(folder / "shapes")
    content = json.loads((folder / "shapes/instances_val.json").read_text())
    content["images"] = content["images"][:4]
    kept = {entry["id"] for entry in content["images"]}
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] in kept]
    (folder / "images").mkdir()
    for entry in content["images"]:
        image = cv2.imread(str(folder / "shapes/images" / entry["file_name"]))
        entry["file_name"] = f"{Path(entry['file_name']).stem}.npy"
        np.save(folder / "images" / entry["file_name"], image[..., np.arange(channels) % 3])
    (folder / "coco.json").write_text(json.dumps(content))
    config = DatasetConfig(images=str(folder / "images"), annotations=str(folder / "coco.json"))
    return DataConfig(train=config, val=config, channels=channels)


def test_data_check_finds_images_with_other_channels(tmp_path: Path) -> None:
    config = _coco(tmp_path, 4)
    dataset = open_datasets(config, "train")
    np.save(dataset.records[1].path, load_image(dataset.records[1])[..., :2])
    report = examine(config, quick=False, on_progress=lambda done, total: None, splits=("train",))
    (finding,) = [one for one in report.findings if one.kind == "images that cannot be read"]
    assert str(dataset.records[1].path) in finding.cases[0].text
    assert "has 2 channels of 8 bits instead of 4 channels of 8 bits" in finding.cases[0].text
    assert with_pixel_format(dataset, PixelFormat(4, 8)) is dataset
