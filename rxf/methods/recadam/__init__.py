"""RecAdam (Chen et al. 2020): see README.md."""
