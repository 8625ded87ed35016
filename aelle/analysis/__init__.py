"""What a sweep's table says, as plain results: no files, no figures, no sentences."""
