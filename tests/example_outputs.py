"""What a network of each task outputs as an example."""

SIGNAL = {"target": [0.0, 1.0, 0.0], "output": [0.1, 1e6, 0.0]}


TEXT = {"input": "a b", "right": " b\n", "probability": [0.5, 0.25, 1.0]}


CLASSES = {"classes": [0, 1], "class_probabilities": [[0.9, 0.1], [0.4, 0.6]]}
