"""Network definitions, training, quantising, cost models, the zoo. Imports `gearshift.runtime`."""
