"""Synthetic films: the chest, the demo database, and the lung segmentation network trained on them."""
