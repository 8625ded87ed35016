"""A pack and its data in, a written run folder out; callbacks measure, predict, prune and record meanwhile."""
