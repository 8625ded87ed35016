"""One run folder: configuration, variants and rows in, written whole; the same out, checked as they are read.

The contract between `train.py` and `analyze.py`.
"""
