"""What a person starts: a command line in, a trained sweep or a report out. The only place that knows Hydra."""
