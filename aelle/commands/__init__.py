"""The commands: a command line in, a trained sweep or a report out. The only package that uses Hydra."""
