"""One pack trained, and the callbacks that measure, predict, prune and record while it is."""
