"""`python predict.py` is `yolox-jax predict`; --help shows its flags."""

import sys

from yolox_jax.cli.main import main

sys.exit(main(["predict", *sys.argv[1:]]))
