"""R3F: noise on the token embeddings, and a price on what it changes."""
