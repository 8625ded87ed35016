"""Figures of the outputs of three trained networks: signals, probabilities of characters or of classes."""

from collections.abc import Callable, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from aelle.analysis.examples import Example
from aelle.report.style import COLOURS, GREY, styled

CHARACTERS_IN_A_ROW = 50


def example_figure(examples: Sequence[Example]) -> go.Figure | None:
    """Chosen by the names of the outputs that the task saved; None for unknown ones."""
    names = set(examples[0].output) if examples else set()
    for needed, draw in DRAWN.items():
        if set(needed) <= names:
            return draw(examples)
    return None


def _titles(examples: Sequence[Example]) -> list[str]:
    return [f"variant {example.number}, final loss {example.loss:.3g}" for example in examples]


def _signals(examples: Sequence[Example]) -> go.Figure:
    """Target and output over the last steps."""
    figure = make_subplots(1, len(examples), shared_yaxes=True, subplot_titles=_titles(examples))
    for column, example in enumerate(examples, 1):
        for name, colour in (("target", GREY), ("output", COLOURS[0])):
            line = {"color": colour, "width": 1.5 if name == "output" else 4}
            figure.add_scatter(y=example.output[name], name=name, line=line, showlegend=column == 1, row=1, col=column)
    # A diverging output must not flatten the targets.
    span = max(max(np.abs(example.output["target"])) for example in examples)
    figure.update_yaxes(range=[-2 * span, 2 * span])
    figure.update_xaxes(title="step")
    return _finished(figure)


def _characters(examples: Sequence[Example]) -> go.Figure:
    """A text, each character shaded by the probability that the network gave it."""
    figure = make_subplots(len(examples), 1, subplot_titles=_titles(examples), vertical_spacing=0.12)
    for row, example in enumerate(examples, 1):
        text = example.output["right"].replace("\n", "⏎").replace(" ", "␣")
        cells = range(0, len(text), CHARACTERS_IN_A_ROW)
        letters = [list(text[i : i + CHARACTERS_IN_A_ROW].ljust(CHARACTERS_IN_A_ROW)) for i in cells]
        chance = np.full((len(letters), CHARACTERS_IN_A_ROW), np.nan)
        chance.flat[: len(text)] = example.output["probability"]
        figure.add_heatmap(z=chance, text=letters, texttemplate="%{text}", coloraxis="coloraxis", row=row, col=1)
    figure.update_traces(hovertemplate="%{text}: %{z:.2f}<extra></extra>")
    figure.update_yaxes(autorange="reversed", visible=False)
    figure.update_xaxes(visible=False)
    bar = {"title": "probability of the<br>correct character"}
    figure.update_layout(coloraxis={"colorscale": "Blues", "cmin": 0, "cmax": 1, "colorbar": bar})
    return _finished(figure)


def _classes(examples: Sequence[Example]) -> go.Figure:
    """Predicted class probabilities for one sequence of each class."""
    figure = make_subplots(1, len(examples), shared_yaxes=True, subplot_titles=_titles(examples))
    for column, example in enumerate(examples, 1):
        names = [str(label) for label in example.output["classes"]]
        figure.add_heatmap(
            z=example.output["class_probabilities"], x=names, y=names, coloraxis="coloraxis", row=1, col=column
        )
    figure.update_traces(hovertemplate="true class %{y}<br>predicted class %{x}<br>probability %{z:.2f}<extra></extra>")
    figure.update_yaxes(autorange="reversed", type="category", title="true class", row=1, col=1)
    figure.update_xaxes(type="category", title="predicted class")
    bar = {"title": "probability"}
    return _finished(figure.update_layout(coloraxis={"colorscale": "Blues", "cmin": 0, "cmax": 1, "colorbar": bar}))


def _finished(figure: go.Figure) -> go.Figure:
    return styled(figure.update_annotations(font_size=13)).update_layout(margin_t=80, legend_y=1.12)


DRAWN: dict[tuple[str, ...], Callable[[Sequence[Example]], go.Figure]] = {
    ("output", "target"): _signals,
    ("right", "probability"): _characters,
    ("class_probabilities", "classes"): _classes,
}
