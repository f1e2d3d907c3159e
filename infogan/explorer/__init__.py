"""The explorer: a model as one HTML page, in which its codes are set by hand."""
