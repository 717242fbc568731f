"""What ensembles learn on `val`."""
