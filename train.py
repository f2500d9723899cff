"""`python train.py` is `yolox-jax train`; --help shows its flags."""

from yolox_jax.cli.main import program

program("train")
