"""A cache of decoded training images, in memory or on disk."""
