"""Finds out what is wrong or odd with data sets, all of it at once, before a training does."""
