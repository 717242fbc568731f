"""Systems beside their controls: evaluation, headline figures, tables and pictures."""
