"""The legend of pictures of label assignment."""

import itertools

import pytest

from yolox_jax.report.assignment_legend import LegendContent, draw_legend


@pytest.mark.parametrize("width", [300, 960, 1920])
def test_the_legend_fits_the_picture_and_explains_the_marks_that_there_are(width: int):
    def num_drawn(content: LegendContent) -> int:
        legend = draw_legend(width, 2.0, content)
        assert legend.shape[1] == width
        # Nothing is cut off at the right.
        assert (legend[:, -4:] == legend[0, 0]).all()
        return int((legend != legend[0, 0]).any(axis=2).sum())

    contents = [
        LegendContent(),
        LegendContent(anchor_boxes=True),
        LegendContent(anchor_boxes=True, selected=True),
        LegendContent(anchor_boxes=True, selected=True, compared=True),
    ]
    assert all(less < more for less, more in itertools.pairwise(map(num_drawn, contents)))
