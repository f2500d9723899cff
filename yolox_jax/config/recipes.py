"""Complete recipes that configs share.

A recipe sets every value and relies on no default of the schema, so that changing a default later does not change the
experiments recorded in `configs/`.
"""

from dataclasses import replace

from yolox_jax.config.assignment import AssignmentConfig, LossConfig, OTAConfig
from yolox_jax.config.augment import AugmentConfig
from yolox_jax.config.data import DataConfig, DatasetConfig
from yolox_jax.config.evaluation import EvaluationConfig
from yolox_jax.config.model import ModelConfig, Variant
from yolox_jax.config.optimization import OptimizerConfig, ScheduleConfig
from yolox_jax.config.settings import Config
from yolox_jax.config.training import TrainConfig


def coco_dataset(split: str) -> DatasetConfig:
    """A split of COCO in `datasets/COCO`, with the folder structure of the unpacked archives.

    Args:
        split: `train2017` or `val2017`.
    """
    return DatasetConfig(
        format="coco",
        images=f"datasets/COCO/{split}",
        annotations=f"datasets/COCO/annotations/instances_{split}.json",
        split="",
        fraction=1.0,
        difficult="use",
    )


def yolox_coco(
    variant: Variant,
    *,
    input_size: tuple[int, int] = (640, 640),
    multiscale_px: tuple[int, int] = (480, 800),
    mosaic_probability: float = 1.0,
    mosaic_scale: tuple[float, float] = (0.1, 2.0),
    mixup_probability: float = 1.0,
) -> Config:
    """The recipe of the published YOLOX weights on COCO, at batch size 64 (docs/yolox.md, 10.1).

    The arguments are the settings that differ between variants; their defaults are those of the larger variants.

    Args:
        variant: The network.
        input_size: Height and width in px for evaluation.
        multiscale_px: Smallest and largest input height for multi-scale training, in px.
        mosaic_probability: Fraction of training images that are mosaics.
        mosaic_scale: Smallest and largest zoom factor of a mosaic.
        mixup_probability: Fraction of mosaics with MixUp.
    """
    return Config(
        model=ModelConfig(
            variant=variant,
            head="decoupled",
            strides=(8, 16, 32),
            anchors=(),
            end_to_end=False,
            weights="",
            rescale_filters=False,
            freeze=(),
        ),
        data=DataConfig(
            train=coco_dataset("train2017"),
            val=coco_dataset("val2017"),
            more_train=(),
            more_val=(),
            classes=(),
            input_size=input_size,
            tile=0,
            tile_overlap=0.2,
            empty_tiles=0.25,
            channels=3,
            bits=8,
            max_boxes=120,
            repeat_threshold=0.0,
            augment=AugmentConfig(
                on="host",
                mosaic_probability=mosaic_probability,
                mosaic_geometry="centred",
                mosaic_scale=mosaic_scale,
                degrees=10.0,
                translate=0.1,
                shear_degrees=2.0,
                mixup_probability=mixup_probability,
                mixup_scale=(0.5, 1.5),
                hsv_probability=1.0,
                hsv_gains=(5.0, 30.0, 30.0),
                flip_probability=0.5,
                min_side_px=2.0,
                min_visible=0.2,
                max_aspect=20.0,
                min_final_side_px=1.0,
                partners="dataset",
                partner_group=8,
            ),
            num_workers=0,
            num_threads=4,
            cache="none",
            cache_dir="",
            broken_images="skip",
        ),
        schedule=ScheduleConfig(
            epochs=300,
            warmup_epochs=5.0,
            no_aug_epochs=15,
            min_lr_ratio=0.05,
            name="yoloxwarmcos",
            milestones=(),
            gamma=0.1,
        ),
        optimizer=OptimizerConfig(
            name="sgd",
            lr_per_image=0.01 / 64,
            lr=None,
            momentum=0.9,
            betas=(0.9, 0.999),
            eps=1e-8,
            weight_decay=5e-4,
            clip_norm=0.0,
            layer_decay=1.0,
        ),
        assignment=AssignmentConfig(
            rule="simota",
            center_radius=1.5,
            max_dynamic_k=10,
            iou_cost=3.0,
            outside_cost=1e6,
            level_sizes_px=(64, 128),
            ignored_iou=0.7,
            one_to_one_iou_power=0.8,
            ota=OTAConfig(
                center_radius=2.5,
                top_ious=20,
                iou_cost=1.5,
                outside_cost=1e6,
                focal_alpha=0.25,
                focal_gamma=2.0,
                entropy=0.1,
                iterations=50,
            ),
        ),
        loss=LossConfig(
            iou_weight=5.0,
            objectness_weight=1.0,
            classification_weight=1.0,
            l1_weight=1.0,
            one_to_one_weight=1.0,
            class_weights=(),
            balanced_limit=10.0,
            classification_focal_gamma=None,
            classification_focal_alpha=None,
            objectness_focal_gamma=None,
            objectness_focal_alpha=None,
            label_smoothing=0.0,
        ),
        train=TrainConfig(
            batch_size=64,
            precision="float32",
            loss_scale=65536.0,
            loss_scale_growth_steps=2000,
            sync_batch_norm=False,
            accumulation_steps=1,
            rematerialise="none",
            fused_conv=False,
            deterministic=False,
            non_finite="stop",
            ema_decay=0.9999,
            ema_ramp_steps=2000.0,
            multiscale_px=multiscale_px,
            multiscale_interval=10,
            log_interval=10,
            loggers=("tensorboard",),
            keep_checkpoints=2,
            checkpoint_steps=0,
            checkpoint_minutes=15.0,
        ),
        evaluation=EvaluationConfig(
            interval=10,
            batch_size=32,
            best_by="AP",
            patience=0,
            score_threshold=0.01,
            iou_threshold=0.65,
            nms=None,
            max_detections=1000,
            num_pictures=8,
            losses=True,
        ),
        seed=0,
    )


def finetune(base: Config, *, epochs: int = 30) -> Config:
    """Changes a recipe into one that fine-tunes published weights on a small dataset, in few steps.

    Differs from training from scratch in what keeps the pretrained features: filters rescaled to one norm
    (docs/yolox.md, 8.4), mild augmentation, an average over the last tenth of the run, and small batches.

    Args:
        base: The recipe to change. Its network, datasets, input size and losses are kept.
        epochs: Number of epochs.
    """
    augment = replace(base.data.augment, mosaic_probability=0.5, mosaic_scale=(0.5, 1.5), mixup_probability=0.0)
    return replace(
        base,
        model=replace(base.model, weights="published", rescale_filters=True),
        data=replace(base.data, augment=augment),
        schedule=replace(base.schedule, epochs=epochs, warmup_epochs=1.0, no_aug_epochs=max(1, epochs // 6)),
        train=replace(base.train, batch_size=16, ema_decay=0.9998, ema_ramp_steps=None, multiscale_px=None),
        evaluation=replace(base.evaluation, interval=2),
    )
