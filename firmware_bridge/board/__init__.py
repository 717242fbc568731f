"""A board as an engine for one network, or as the whole adaptive loop."""
