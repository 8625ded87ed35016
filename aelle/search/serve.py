"""One job of a search: takes packs of variants from the study, trains them, and tells how they ended."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from aelle.runs.reader import DamagedRunError, read_run, run_folders
from aelle.runs.settings import fingerprint
from aelle.search.learning import Learner
from aelle.search.options import AELLE
from aelle.search.outcomes import Ending, ending
from aelle.search.parts import SearchParts
from aelle.search.plan import SearchedPlan
from aelle.search.study import Study
from aelle.sweep.plan import cut_into_packs
from aelle.terminal import count, say
from aelle.training.pack import train_pack
from aelle.training.progress import Progress
from aelle.variants import Variant


def serve(plan: SearchedPlan, search: dict[str, Any], workers: int | None) -> bool:
    """Serve the study until it has as many trials as the sweep has variants. Returns False if a training failed.

    What fails is left for the next time that the search is started, as in any sweep.
    """
    parts = SearchParts(plan.config, workers or 1)
    plan.start()
    study = Study(plan, search)
    learner = Learner(plan, say) if search["prune"] == AELLE else None
    succeeded = True
    for pack in cut_into_packs(study.lost(), plan.config["pack_size"]):
        say(f"the runs of {count(len(pack), 'variant')} that had ended are missing or damaged: they are trained again")
        succeeded &= _train(plan, pack, parts, workers)
    parts.study = study
    with study.serving():
        while variants := study.take(plan.config["pack_size"]):
            ended = 0
            for pack in cut_into_packs(variants, plan.config["pack_size"]):
                if learner is not None:
                    learner.learn(parts)
                trained = _train(plan, pack, parts, workers)
                endings = _endings(plan, pack)
                if trained and len(endings) < len(pack):
                    # Another process trains them.
                    return False
                for number, end in endings.items():
                    study.tell(number, end)
                refused = len(endings) < len(pack) and _refused(plan, pack)
                for number in {variant.number for variant in pack} - endings.keys():
                    study.fail(number, for_ever=refused)
                succeeded &= trained
                ended += len(endings)
            if not ended:
                # The next ones would fail for the same reason.
                return False
    return succeeded


def _train(plan: SearchedPlan, pack: list[Variant], parts: SearchParts, workers: int | None) -> bool:
    plan.take(pack)
    return train_pack(plan, _folder(plan, pack), pack, parts, Progress(plan, workers))


def _folder(plan: SearchedPlan, pack: list[Variant]) -> Path:
    """That of its first variant, which is in no other pack: packs are not numbered beforehand."""
    return plan.pack_folder(pack[0].number)


def _refused(plan: SearchedPlan, pack: list[Variant]) -> bool:
    """Whether the pack's networks cannot be built."""
    try:
        return read_run(_folder(plan, pack)).refused
    except DamagedRunError:
        return False


def _endings(plan: SearchedPlan, pack: list[Variant]) -> dict[int, Ending]:
    """How these variants have ended; those that are not complete are missing."""
    numbers, mine, label = {variant.number for variant in pack}, fingerprint(plan.config), _folder(plan, pack).name
    found: dict[int, Ending] = {}
    # In the pack's own folder first; the others are read only for those that are not there.
    for folder in sorted(run_folders(plan.folder), key=lambda one: not one.name.startswith(label)):
        if not (left := numbers - found.keys()):
            break
        with suppress(DamagedRunError):
            run = read_run(folder)
            if run.status["state"] == "complete" and run.status["fingerprint"] == mine:
                found |= {number: ending(run, number) for number in left & {*run.numbers}}
    return found
