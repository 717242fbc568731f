"""How a frame is decided: signals, selection, combination, filters, and their sweep."""
