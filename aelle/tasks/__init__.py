"""Populations of networks, and the LightningModules that train them: variants and data in, trained networks out."""

from aelle.tasks.characters import CharacterPrediction
from aelle.tasks.classification import SequenceClassification
from aelle.tasks.module import NETWORK, TRAINING, PopulationModule, ShuffledBatches
from aelle.tasks.networks import networks_of
from aelle.tasks.population import Population
from aelle.tasks.regression import SequenceRegression
from aelle.tasks.sequences import SequenceLearning
from aelle.tasks.target import TargetLearning

__all__ = [
    "NETWORK",
    "TRAINING",
    "CharacterPrediction",
    "Population",
    "PopulationModule",
    "SequenceClassification",
    "SequenceLearning",
    "SequenceRegression",
    "ShuffledBatches",
    "TargetLearning",
    "networks_of",
]
