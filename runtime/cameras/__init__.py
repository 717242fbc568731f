"""Lenses: models, calibration, camera files, and any camera turned into the networks' own."""
