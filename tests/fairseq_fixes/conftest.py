"""These tests look at fairseq as it is with the fixes in place."""

import rxf  # noqa: F401
