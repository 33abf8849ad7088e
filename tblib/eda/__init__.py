"""Exploratory analysis: one file per chapter of the first notebook. Imports no torch."""
