r"""Published weights fine-tuned on a dataset of your own: YOLOX-nano at 416x416, a good start for small datasets.

The dataset is named on the command line, in any format. For a larger network, pass its variant and input size as in the
second command. The published weights of the variant are downloaded on first use.

Reproduces: nothing published.
Expected: depends on the dataset. On 160 images of BCCD as one class, AP 0.594 and 0.619 on 40 others, in one run each
  on two draws of images.
Cost: 30 epochs; half an hour for 160 images on two CPU cores with other work beside it.
Command: python train.py --config configs/finetune.py --workdir runs/mine --data mine/data.yaml
  or: python train.py --config configs/finetune.py --workdir runs/mine --data mine/data.yaml --model.variant yolox_s \
      --data.input-size 640 640
"""

from dataclasses import replace

from yolox_jax.config import Config, DatasetConfig
from yolox_jax.config.recipes import finetune, yolox_coco


def get_config() -> Config:
    """The fine-tuning recipe on a dataset that the command line names."""
    coco = yolox_coco("yolox_nano", input_size=(416, 416))
    unnamed = DatasetConfig(format="yolo", images="", annotations="", split="", fraction=1.0, difficult="use")
    return finetune(replace(coco, data=replace(coco.data, train=unnamed, val=unnamed)))
