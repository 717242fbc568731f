"""Training networks on recorded flights, and evaluating them there."""
