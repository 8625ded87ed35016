"""A training on a GPU, by the command line."""

import json

from devices import NEEDS_GPU
from sweeps import SMALL

pytestmark = NEEDS_GPU


def test_a_complete_run_says_where_it_was_trained(main, tmp_path):
    main("train.py", "-m", "experiment=digits", *SMALL, "sweep=here", "trainer.accelerator=gpu")
    states = [json.loads(file.read_text()) for file in (tmp_path / "outputs" / "here").glob("*/status.json")]
    assert states and {status["state"] for status in states} == {"complete"}
    assert all(status["device"].startswith("cuda") for status in states)
