"""All variants of a sweep in one folder: planned from a configuration, resumed, and read as one table."""
