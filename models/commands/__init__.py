"""The command `gearshift models`."""
