"""People: bodies, gait, hair, clothes, and portraits of them."""
