"""`python train.py` is `yolox-jax train`; --help shows its flags."""

import sys

from yolox_jax.cli.main import main

sys.exit(main(["train", *sys.argv[1:]]))
