"""What decides a run, without torch: latent spec, options, presets, command line."""
