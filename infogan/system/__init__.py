"""The machine under it all: errors, files, devices and random state, several processes."""
