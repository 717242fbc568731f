"""Sub-commands of `gearshift` that an onboard computer has."""
