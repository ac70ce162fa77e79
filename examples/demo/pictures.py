# SPDX-License-Identifier: Apache-2.0
"""pictures.py FOLDER: draws quality against memory (quality.png), and what each head kept (kept.png)."""

import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from results import Results, in_megabytes

# Okabe and Ito's colours, which the colour-blind can tell apart; markers tell apart what shares a colour.
KINDS = {"looks at attention": "#0072B2", "looks at keys and values": "#D55E00", "looks at positions alone": "#6A6A6A"}
MARKERS = "osD^vPX<>h*p"
PASSKEY = "#FFE680"
SMALL_PRINT = {"fontsize": 8, "color": "#6A6A6A"}

# What the second picture shows: methods that differ in kind, and layers from near the input to near the output.
SHOWN_METHODS = ("snap_kv", "h2o", "lag_kv", "key_diff")
SHOWN_LAYERS = (2, 14, 26)
SHOWN_CONTEXT = "passkey-1"


def kind_of(needs):
    if "quer" in needs:  # query, queries
        return "looks at attention"
    return "looks at positions alone" if needs == "nothing" else "looks at keys and values"


def spread(wanted, gap):
    """Heights at least `gap` apart, in the same order and as near to those wanted as that allows."""
    order = np.argsort(wanted)
    clusters = []  # each: the sum of (wanted - rank * gap), members
    for rank, i in enumerate(order):
        clusters.append([wanted[i] - rank * gap, [i]])
        while len(clusters) > 1 and clusters[-2][0] / len(clusters[-2][1]) > clusters[-1][0] / len(clusters[-1][1]):
            total, members = clusters.pop()
            clusters[-1][0] += total
            clusters[-1][1] += members
    placed, rank = np.empty(len(wanted)), 0
    for total, members in clusters:
        for i in members:
            placed[i] = total / len(members) + rank * gap
            rank += 1
    return placed


def draw_methods(axes, results, quality, transform, gap):
    """A line per method from budget to budget, its name beside the smallest. `transform` is the axis's scale."""
    smallest = results.budgets[-1]
    heights = spread([transform(quality(outcome)) for outcome in smallest], gap)
    to_axis = axes.get_yaxis_transform()  # x in shares of the axis, y in data
    used = {}
    for outcome, height, *line in zip(smallest, heights, *reversed(results.budgets)):
        kind = kind_of(outcome.needs)
        marker = MARKERS[used.setdefault(kind, 0)]
        used[kind] += 1
        style = {"color": KINDS[kind], "marker": marker, "markersize": 7, "markeredgecolor": "white"}
        x = [o.bytes / 1e6 for o in line]
        y = [quality(o) for o in line]
        axes.plot(x, y, lw=1.4, alpha=0.9, clip_on=False, zorder=3, **style)
        label = np.exp(height) if transform is np.log else height
        axes.annotate(
            outcome.name,
            xy=(x[0], y[0]),
            xytext=(-0.05, label),
            textcoords=to_axis,
            ha="right",
            va="center",
            fontsize=10.5,
            color=KINDS[kind],
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "lw": 0.6, "color": KINDS[kind], "alpha": 0.6, "shrinkA": 2, "shrinkB": 4},
        )


def draw_memory_axis(axes, results):
    points = [results.full, *(group[0] for group in results.budgets)]
    names = {o.bytes / 1e6: f"{in_megabytes(o.bytes)} MB\n{o.rows:.0f} rows" for o in points}
    axes.set_xscale("log")
    axes.set_xlim(min(names) / 1.12, max(names) * 1.2)
    axes.xaxis.set_major_locator(FixedLocator(sorted(names)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: names[min(names, key=lambda size: abs(size - x))]))
    axes.set_xlabel("keys and values in the cache (rows per head)")
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.grid(axis="x", color="#DDDDDD", lw=0.8)
    for side in ("left", "top"):
        axes.spines[side].set_visible(False)


def draw_quality(results, path):
    figure, (left, right) = plt.subplots(1, 2, figsize=(13.5, 6.4))
    figure.subplots_adjust(left=0.11, right=0.935, top=0.80, bottom=0.2, wspace=0.52)
    full = results.full.bytes / 1e6

    every = [outcome for group in results.budgets for outcome in group]
    low, high = min(o.kl for o in every), max(o.kl for o in every)
    left.set_yscale("log")
    left.set_ylim(low / 1.5, high * 1.3)
    draw_methods(left, results, lambda o: o.kl, np.log, np.log(high / low * 1.95) / 17)
    draw_memory_axis(left, results)
    left.set_ylabel("KL divergence, nats per token (log scale)")
    left.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    left.axvline(full, color="black", lw=1, ls=(0, (4, 3)))
    left.text(full / 1.04, high * 1.2, "full cache:\nKL is 0", ha="right", va="top", fontsize=10)
    left.set_title("The text goes on: distance from the full cache's\npredictions (lower is better)", fontsize=12)

    right.set_ylim(0, 1.03)
    draw_methods(right, results, lambda o: o.accuracy, float, 1.03 / 17)
    draw_memory_axis(right, results)
    right.set_ylabel("digits read back")
    right.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.0%}"))
    right.axhline(results.full.accuracy, color="black", lw=1, ls=(0, (4, 3)), zorder=1)
    right.plot([full], [results.full.accuracy], "o", color="black", markersize=8, clip_on=False, zorder=4)
    right.text(full, results.full.accuracy - 0.035, "full cache", ha="center", va="top", fontsize=10)
    digits = results.contexts[SHOWN_CONTEXT]["score_last"]
    right.set_title(
        f"A {digits}-digit number is asked for, unannounced:\nshare of it read back (higher is better)", fontsize=12
    )

    figure.suptitle("At equal memory, some predict the next words, some remember, few do both", y=0.96, fontsize=16)
    figure.legend(
        handles=[Line2D([], [], color=color, lw=3, label=kind) for kind, color in KINDS.items()],
        loc="lower center",
        bbox_to_anchor=(0.5, 0.04),
        ncols=3,
        frameon=False,
    )
    figure.text(
        0.5,
        0.015,
        f"examples/run.sh: SmolLM2-135M, {results.tokens} tokens of context, f16, one text and "
        f"{len(results.full.digits)} numbers. The compression sees neither question nor continuation.",
        ha="center",
        **SMALL_PRINT,
    )
    figure.savefig(path, dpi=160)
    plt.close(figure)


def strips_of(outcome, tokens):
    """(names, image): a strip per shown layer and head, 1 where a token was kept."""
    layers = outcome.indices[SHOWN_CONTEXT]
    names = [(l, h) for l in SHOWN_LAYERS if l < len(layers) for h in range(len(layers[l]))]
    strips = np.zeros((len(names), tokens), int)
    for strip, (l, h) in zip(strips, names):
        strip[layers[l][h]] = 1
    return names, strips


def share_kept(outcome, spans):
    """The share of these tokens that is still there, over all layers and heads."""
    wanted = {t for first, last in spans for t in range(first, last)}
    heads = [head for layer in outcome.indices[SHOWN_CONTEXT] for head in layer]
    return sum(len(wanted.intersection(head)) for head in heads) / (len(wanted) * len(heads))


def draw_strips(axes, outcome, tokens, spans):
    names, strips = strips_of(outcome, tokens)
    for first, last in spans:
        strips[:, first:last] += 2
    kept = KINDS[kind_of(outcome.needs)]
    ink = np.array([matplotlib.colors.to_rgb(c) for c in ("white", kept, PASSKEY, kept)])
    axes.imshow(ink[strips], aspect="auto", interpolation="nearest", extent=(0, tokens, len(names), 0))
    for i in range(1, len(names)):
        new_layer = names[i][0] != names[i - 1][0]
        axes.axhline(i, color="black" if new_layer else "#BBBBBB", lw=0.8 if new_layer else 0.4)
    layers = list(dict.fromkeys(l for l, _ in names))
    heads = len(names) / len(layers)
    axes.set_yticks([heads * (i + 0.5) for i in range(len(layers))], [f"layer {l}" for l in layers])
    axes.tick_params(axis="y", length=0)
    axes.set_title(outcome.name, loc="left", fontsize=13, fontweight="bold", pad=5)
    share = f"{share_kept(outcome, spans):.0%} of the\nnumber is kept,\nall heads together"
    axes.text(1.012, 0.5, share, transform=axes.transAxes, va="center", fontsize=10.5)


def draw_kept(results, path):
    shown = [outcome for name in SHOWN_METHODS for outcome in results.budgets[-1] if outcome.name == name]
    spans = results.contexts[SHOWN_CONTEXT]["key_tokens"]
    dpi = 250
    width, panel, gap = 2 * results.tokens / dpi, 1.25, 0.42  # inches; two pixels a token
    left, right, top, bottom = 0.85, 1.6, 1.35, 0.85
    size = (left + width + right, top + len(shown) * (panel + gap) - gap + bottom)
    figure = plt.figure(figsize=size)
    middle = left / size[0] + width / size[0] / 2
    for row, outcome in enumerate(shown):
        y = size[1] - top - panel - row * (panel + gap)
        axes = figure.add_axes((left / size[0], y / size[1], width / size[0], panel / size[1]))
        draw_strips(axes, outcome, results.tokens, spans)
        axes.set_xticks(range(0, results.tokens, 200))
        axes.tick_params(labelbottom=row == len(shown) - 1)
        if row == 0:
            centre = (spans[0][0] + spans[-1][1]) / 2
            axes.text(centre, -0.4, "the number, stated twice", ha="center", color="#7A5C00", fontsize=11)
    axes.set_xlabel("token of the context")

    kept = shown[0].rows / results.full.rows
    title = f"Which tokens are left when {kept:.0%} of the cache is kept"
    subtitle = "A strip is a KV head, a mark is a token it still has. The number is asked for only afterwards."
    small = f"examples/run.sh: SmolLM2-135M, {results.tokens} tokens, {shown[0].rows:.0f} rows per head"
    figure.text(middle, 1 - 0.42 / size[1], title, ha="center", fontsize=17)
    figure.text(middle, 1 - 0.75 / size[1], subtitle, ha="center", fontsize=11.5)
    figure.text(middle, 0.14 / size[1], small, ha="center", **SMALL_PRINT)
    figure.savefig(path, dpi=dpi)
    plt.close(figure)


def main(folder):
    results = Results(folder)
    draw_quality(results, pathlib.Path(folder) / "quality.png")
    draw_kept(results, pathlib.Path(folder) / "kept.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
