"""Adam by named parameter: what RecAdam, CWGNC and the methods around them share."""
