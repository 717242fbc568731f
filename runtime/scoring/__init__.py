"""How estimates are judged: which frames count, errors, and intervals over flights."""
