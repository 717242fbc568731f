"""Other people's protocols: Bitcraze's CPX, the AI-deck, NanoCockpit."""
