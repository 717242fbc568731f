"""What places and people are made of: rotations and noise, textured quads, surfaces."""
