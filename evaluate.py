"""`python evaluate.py` is `yolox-jax evaluate`; --help shows its flags."""

from yolox_jax.cli.main import program

program("evaluate")
