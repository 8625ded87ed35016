"""A LightningModule per task, each of which trains a population of variants."""

from aelle.tasks.characters import CharacterPrediction
from aelle.tasks.classification import SequenceClassification
from aelle.tasks.target import TargetLearning

__all__ = ["CharacterPrediction", "SequenceClassification", "TargetLearning"]
