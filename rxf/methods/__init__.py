"""One room a method; registry.py is the list of them."""
