"""One job of a search: takes packs of variants from the study, trains them, and tells how they ended."""

from typing import Any

from aelle.runs.reader import DamagedRunError, read_run, run_folders
from aelle.runs.settings import fingerprint
from aelle.search.learning import Learner
from aelle.search.options import AELLE
from aelle.search.outcomes import Ending, ending
from aelle.search.parts import SearchParts
from aelle.search.plan import SearchedPlan
from aelle.search.study import Study
from aelle.sweep.plan import cut_into_packs, numbers_label
from aelle.terminal import say
from aelle.training.pack import train_pack
from aelle.training.progress import Progress


def serve(plan: SearchedPlan, search: dict[str, Any], workers: int | None) -> bool:
    """Serve the study until it has as many trials as the sweep has variants. Returns False if a training failed."""
    parts = SearchParts(plan.config, workers or 1)
    plan.start()
    parts.study = study = Study(plan, search, search["worker"])
    learner = Learner(plan, say) if search["prune"] == AELLE else None
    succeeded = True
    with study.serving():
        while variants := study.take(plan.config["pack_size"]):
            ended = 0
            for pack in cut_into_packs(variants, plan.config["pack_size"]):
                if learner is not None:
                    learner.learn(parts)
                plan.take(pack)
                folder = plan.folder / numbers_label(pack)
                trained = train_pack(plan, folder, pack, parts, Progress(plan, workers))
                endings = _endings(plan, {variant.number for variant in pack})
                if trained and len(endings) < len(pack):
                    # Another process trains them.
                    return False
                for variant in pack:
                    study.tell(variant.number, endings.get(variant.number))
                succeeded &= trained
                ended += len(endings)
            if not ended:
                # The next ones would fail for the same reason.
                return False
    return succeeded


def _endings(plan: SearchedPlan, numbers: set[int]) -> dict[int, Ending]:
    """How these variants have ended; those that are not complete are missing."""
    mine, found = fingerprint(plan.config), {}
    for folder in run_folders(plan.folder):
        try:
            run = read_run(folder)
        except DamagedRunError:
            continue
        if run.status["state"] == "complete" and run.status["fingerprint"] == mine:
            found |= {number: ending(run, number) for number in numbers & set(run.numbers)}
    return found
