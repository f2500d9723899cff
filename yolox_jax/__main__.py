"""`python -m yolox_jax` is `yolox-jax`; --help lists the commands."""

from yolox_jax.cli.main import program

# Data loading workers import this file again.
if __name__ == "__main__":
    program()
