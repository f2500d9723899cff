"""Printed evaluations."""

import pytest

from yolox_jax.evaluation.console import print_voc


@pytest.mark.parametrize(("num_classes", "columns"), [(1, 1), (2, 2), (7, 3)])
def test_the_table_of_classes_has_no_empty_columns(num_classes, columns, capsys):
    print_voc({f"class_{number}": number / 10 for number in range(num_classes)}, "07")
    header = next(line for line in capsys.readouterr().out.splitlines() if " AP " in line and "class" in line)
    assert header.count("class") == header.count("AP") == columns
