"""A LightningModule per task, each of which trains a population of variants."""

from aelle.tasks.classification import SequenceClassification

__all__ = ["SequenceClassification"]
