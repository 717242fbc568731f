"""Network definitions, training, quantising, cost models and the zoo. Imports `gearshift.runtime`."""
