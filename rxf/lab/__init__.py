"""What a person runs around training: prepare, doctor, and later probe, sweep, report."""
