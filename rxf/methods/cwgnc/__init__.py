"""Component-wise gradient norm clipping (Yang & Ma 2022): see README.md."""
