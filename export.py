"""`python export.py` is `yolox-jax export`; --help shows its flags."""

from yolox_jax.cli.main import program

# The processes that load images import this file again.
if __name__ == "__main__":
    program("export")
