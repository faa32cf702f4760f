"""Longtake makes any video longer, and leaves every frame that was there untouched."""
