"""A TensorBoard folder per variant: `tensorboard --logdir outputs/<sweep>/tensorboard`."""

from collections.abc import Iterable, Sequence

from aelle.errors import UserError
from aelle.files import make_folder
from aelle.tracking.tracker import TIME, Outcome, Pack, Picture, Row


class TensorBoardFolders:
    """`<sweep>/tensorboard/<pack>/<variant>`: scalars over epochs, pictures, and a line of the HPARAMS tab.

    Files left there by an earlier start of the pack are removed: its rows are written again.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
            from torch.utils.tensorboard.summary import hparams
        except ImportError as error:
            raise UserError(
                "logger=tensorboard needs a package that is not installed: run pip install tensorboard"
            ) from error
        self.writer, self.hparams = SummaryWriter, hparams

    def start(self, pack: Pack) -> None:
        self.hyperparameters = [pack.hyperparameters(variant) for variant in pack.variants]
        self.writers = {}
        for variant in pack.variants:
            folder = pack.folder.parent / "tensorboard" / pack.folder.name / f"{variant.number:04d}"
            for part in (folder.parent.parent, folder.parent, folder):
                make_folder(part)
            for file in folder.glob("events.out.tfevents.*"):
                file.unlink()
            self.writers[variant.number] = self.writer(str(folder))

    def epoch(self, rows: Sequence[Row]) -> None:
        for row in rows:
            writer = self.writers[int(row["variant"])]
            for name, value in row.items():
                if name not in ("variant", "epoch", TIME):
                    writer.add_scalar(name, value, int(row["epoch"]), walltime=row.get(TIME))
            writer.flush()

    def pictures(self, pictures: Iterable[Picture]) -> None:
        for variant, epoch, name, pixels in pictures:
            self.writers[variant].add_image(name, pixels, epoch, dataformats="HWC")

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        for writer, chosen, outcome in zip(self.writers.values(), self.hyperparameters, outcomes, strict=True):
            results = {name: float(value) for name, value in outcome.items() if name != "state"}
            # `add_hparams` would create another folder; these are the three records that it writes.
            for record in self.hparams({**chosen, "state": outcome["state"]}, results):
                writer._get_file_writer().add_summary(record)
            for name, value in results.items():
                writer.add_scalar(name, value)
            writer.close()
