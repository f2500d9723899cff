"""The config of weights: commands that are given the weights of a run use the config of that run by default."""

import sys

from yolox_jax.cli.settings import requested, requested_config
from yolox_jax.cli.terminal import say
from yolox_jax.config import ConfigError
from yolox_jax.config.files import RUN_SETTINGS, shipped_configs
from yolox_jax.config.serialization import nearest
from yolox_jax.files import expand_home

CONFIG_OF_WEIGHTS = "By default, the config of the run, or of the published weights, given as --weights."


def config_of_weights(argv: list[str]) -> str | None:
    """Returns the config that belongs to `--weights`, where `--config` is not given, and prints which one it is.

    It is the config of the run for a run directory or the weights in one, and the shipped config of the same name for
    published weights.

    Raises:
        ConfigError: `--weights` are other weights, which have no config.
    """
    weights = requested(argv, "--weights")
    if weights is None or requested_config(argv) is not None:
        return None
    if weights in shipped_configs():
        name = weights
    else:
        path = expand_home(weights)
        # Weights of a run are in best/ or last/.
        runs = [folder for folder in (path, path.parent.parent) if (folder / RUN_SETTINGS).is_file()]
        if not path.exists():
            from yolox_jax.weights.files import hint_at_run  # here, because it imports jax

            hint = hint_at_run(path) or nearest(weights, shipped_configs())
            raise ConfigError(f"--weights {weights}: there is no such file or run directory{hint}")
        if not runs:
            raise ConfigError(
                f"--config is required, because --weights {weights} is not a run directory. Pass the config that they "
                f"were trained with, such as --config {_likely_config(path.stem)}, and the dataset with --data PATH"
            )
        # As a file, so that a run named like a shipped config is not taken for it.
        name = str(runs[0] / RUN_SETTINGS)
    say(f"using --config {name}, which belongs to --weights {weights}", sys.stderr)
    return name


def _likely_config(stem: str) -> str:
    return next((name for name in shipped_configs() if name in stem), "yolox_s")
