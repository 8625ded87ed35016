"""Populations of networks, and the LightningModules that train them: variants and data in, trained networks out."""

from aelle.tasks.characters import CharacterPrediction
from aelle.tasks.classification import SequenceClassification
from aelle.tasks.module import PopulationModule, ShuffledBatches
from aelle.tasks.population import Population
from aelle.tasks.target import TargetLearning

__all__ = [
    "CharacterPrediction",
    "Population",
    "PopulationModule",
    "SequenceClassification",
    "ShuffledBatches",
    "TargetLearning",
]
