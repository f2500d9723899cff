"""Decoded training images, kept in memory or on disk."""
