"""The learning curves of the page."""

from collections.abc import Sequence

from tl_toolkit.report.content import Epoch
from tl_toolkit.report.page.charts import Chart, Stop, draw_line, finite, horizontal, padded, vertical
from tl_toolkit.report.page.formats import number, percent


def curve_charts(epochs: Sequence[Epoch], score_name: str) -> list[Chart]:
    """Draw loss and score over the epochs of all stages.

    Args:
        epochs: The evaluations, in order.
        score_name: What the score is.
    """
    at, bands = _positions(epochs)
    x = horizontal(0.0, max(at))
    stages = [(x.at(low), x.at(high), name) for low, high, name in bands]
    titles = [f"{epoch.stage}, epoch {epoch.epoch:g}" for epoch in epochs]

    losses = [(epoch.train_loss, epoch.val_loss) for epoch in epochs]
    low, high = padded(finite(value for pair in losses for value in pair), least=0.0)
    loss = vertical(0.0 if low < high / 2 else low, high)
    scores = [(epoch.train_accuracy, epoch.val_score) for epoch in epochs]
    score = vertical(*padded(finite(value for pair in scores for value in pair), 0.0, 1.0))

    def chart(key: str, title: str, pairs: Sequence[tuple[float | None, float | None]], y_is_share: bool) -> Chart:
        y = score if y_is_share else loss
        text = percent if y_is_share else number
        names = ("train accuracy" if y_is_share else "train", score_name if y_is_share else "val")
        shown = ("train", "val")
        drawn = [
            draw_line(shown[k], shown[k], [(at[i], pair[k]) for i, pair in enumerate(pairs)], x, y)
            for k in (0, 1)
            if finite(pair[k] for pair in pairs)
        ]
        stops = []
        for i, pair in enumerate(pairs):
            known = [(shown[k], pair[k]) for k in (0, 1) if pair[k] is not None]
            dots = [y.at(value) for value in finite(value for _, value in known)]
            stops.append(Stop(x.at(at[i]), titles[i], [(name, text(value)) for name, value in known], dots))
        label = f"{title} over {len(epochs)} evaluations: {names[1]} is {text(pairs[-1][1])} at the end."
        ticks = y.ticks(lambda value: f"{100 * value:g} %") if y_is_share else y.ticks(lambda value: f"{value:g}")
        kept = [(x.at(at[i]), value) for i, epoch in enumerate(epochs) if epoch.kept for value in finite([pairs[i][1]])]
        mark = next(((place, y.at(value), f"kept {text(value)}") for place, value in kept), None)
        return Chart(
            key,
            title,
            label,
            "epoch",
            x.ticks(lambda value: f"{value:g}"),
            ticks,
            stops,
            drawn,
            bands=stages,
            mark=mark,
        )

    return [chart("loss", "Loss", losses, False), chart("score", score_name[:1].upper() + score_name[1:], scores, True)]


def _positions(epochs: Sequence[Epoch]) -> tuple[list[float], list[tuple[float, float, str]]]:
    """Return the epochs counted over all stages, and where each stage begins and ends."""
    at: list[float] = []
    bands: list[tuple[float, float, str]] = []
    for k, epoch in enumerate(epochs):
        if k == 0 or epoch.stage != epochs[k - 1].stage:
            start = at[-1] if at else 0.0
            bands.append((start, start, epoch.stage))
        start = bands[-1][0]
        at.append(start + epoch.epoch)
        bands[-1] = (start, at[-1], epoch.stage)
    return at, bands
