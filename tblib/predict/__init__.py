"""Prediction for single films: predictor, what-if changes, warnings and panel."""
