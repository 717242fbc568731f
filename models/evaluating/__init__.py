"""Networks on labelled flights: data, inference, errors, agreement between forms."""
