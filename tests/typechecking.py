"""The checker of annotations that tests switch on: beartype, with an int allowed where a float is, as in Python."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
