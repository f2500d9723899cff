"""`python evaluate.py` is `yolox-jax evaluate`; --help shows its flags."""

import sys

from yolox_jax.cli.main import main

sys.exit(main(["evaluate", *sys.argv[1:]]))
