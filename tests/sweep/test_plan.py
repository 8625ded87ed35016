"""A sweep's plan, stored and read back."""

import json

import pytest

from aelle.errors import UserError
from aelle.sweep.plan import Plan
from run_files import CONFIG, damage


@pytest.mark.parametrize("how", ["empty", "truncated", "flipped", "folder"])
def test_a_damaged_plan_is_refused_with_a_remedy(tmp_path, how):
    config = {**CONFIG, "pack_size": 2}
    Plan(config, tmp_path).start()
    assert Plan.started(tmp_path).identity == Plan(config, tmp_path).identity
    damage(tmp_path / "sweep.json", how)
    with pytest.raises(UserError, match="delete it and run the sweep again"):
        Plan.started(tmp_path)


def test_plans_that_are_none_are_refused(sweep):
    for text in ("[]", "{", '{"size": -1}', '{"size": 1e99}', "[" * 100_000):
        (sweep / "sweep.json").write_text(text)
        with pytest.raises(UserError, match="is damaged"):
            Plan.started(sweep)


def test_a_plan_of_an_earlier_version_is_no_damaged_one(tmp_path):
    plan = Plan({**CONFIG, "pack_size": 2}, tmp_path)
    (tmp_path / "sweep.json").write_text(json.dumps(plan.identity))
    with pytest.raises(
        UserError, match="was written by an earlier version: go on with that one, or start another sweep"
    ):
        Plan.started(tmp_path)
