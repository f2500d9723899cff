"""Checks types and array shapes against signatures while tests run."""

from beartype import BeartypeConf, beartype

# As the type checker that reads the code: an int is a float.
checker = beartype(conf=BeartypeConf(is_pep484_tower=True))
