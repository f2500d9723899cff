import pytest

from yolox_jax.inference.tiles import Tiling, regions_of, tiling_of


@pytest.mark.parametrize("image_size", [(832, 832), (1000, 417), (300, 2000), (641, 3211)])
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5, 0.99])
def test_an_object_no_larger_than_the_overlap_is_whole_in_a_tile_wherever_it_is(image_size, overlap):
    height, width = image_size
    tiling = Tiling(416, 416, overlap)
    tiles = regions_of(image_size, tiling)[1:]
    assert {(y2 - y1, x2 - x1) for x1, y1, x2, y2 in tiles.tolist()} == {(min(416, height), min(416, width))}
    for side, starts, ends in ((width, tiles[:, 0], tiles[:, 2]), (height, tiles[:, 1], tiles[:, 3])):
        assert starts.min() == 0 and ends.max() == side
        size = min(int(416 * overlap), side)
        for place in range(side - size + 1):
            assert ((starts <= place) & (place + size <= ends)).any()


def test_there_are_no_more_tiles_than_the_overlap_needs():
    for length, overlap, count in ((832, 0.0, 2), (833, 0.0, 3), (832, 0.2, 3), (4000, 0.2, 12)):
        tiles = regions_of((100, length), Tiling(416, 416, overlap))[1:]
        assert len(tiles) == count == 1 + -(-(length - 416) // int(416 * (1 - overlap)))


def test_the_whole_image_comes_first_and_alone_if_it_fits_in_a_tile():
    assert regions_of((416, 300), Tiling(416, 416, 0.5)).tolist() == [[0, 0, 300, 416]]
    assert regions_of((417, 300), Tiling(416, 416, 0.0))[0].tolist() == [0, 0, 300, 417]


def test_tiles_have_the_shape_of_the_networks_input():
    assert tiling_of(None, 0.2, (416, 640)) is None
    assert tiling_of("auto", 0.2, (416, 640)) == Tiling(416, 640, 0.2)
    assert tiling_of(320, 0.2, (416, 640)) == Tiling(208, 320, 0.2)
