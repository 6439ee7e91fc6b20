"""One room a method: its card, its maths, and what binds it to fairseq."""
