"""The version of this package."""

import importlib.metadata


def package_version() -> str:
    """As it is installed; a checkout on the path has none."""
    try:
        return importlib.metadata.version("yolox-jax")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"
