"""One run folder: written whole, read checked. The contract between `train.py` and `analyze.py`."""
