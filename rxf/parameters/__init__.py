"""A model's parameters as what they are part of: components, layers, norms and biases."""
