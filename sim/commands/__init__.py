"""Sub-commands of `gearshift` for laptops and CI."""
