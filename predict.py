"""`python predict.py` is `yolox-jax predict`; --help shows its flags."""

from yolox_jax.cli.main import program

program("predict")
