"""Random changes to training images: mosaic, affine, MixUp, colour."""
