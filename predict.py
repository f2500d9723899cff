"""`python predict.py` is `yolox-jax predict`; --help lists its flags."""

from yolox_jax.cli.main import program

# Data loading workers import this file again.
if __name__ == "__main__":
    program("predict")
