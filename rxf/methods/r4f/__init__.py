"""R4F: R3F with a classification head whose Lipschitz constant is bounded by 1."""
