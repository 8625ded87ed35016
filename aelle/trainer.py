"""A minimal, quiet Lightning Trainer."""

import logging
import warnings
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from aelle.errors import UserError, in_one_line
from aelle.terminal import command


def lean_trainer(**options: Any) -> pl.Trainer:
    """A Trainer without logger, progress bar, summary, sanity checks and messages about devices and workers.

    Raises UserError if Lightning rejects the options.
    """
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
    try:
        return pl.Trainer(
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            **options,
        )
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UserError(
            f"trainer: {in_one_line(error)}; {command('train', '--help')} shows the trainer's options"
        ) from error
