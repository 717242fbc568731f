"""What networks are made of, independent of how they are trained."""
