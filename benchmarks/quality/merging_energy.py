# SPDX-License-Identifier: Apache-2.0
"""The picture of merging's premise: the share of energy in the leading directions of all heads' rows."""


def draw(layers, path):
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "tightkv"}
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True)
    for axis, part in zip(axes, ("quarter", "half")):
        for name, label, colour in (
            ("keys_before_rope", "keys before RoPE", "#0072b2"),
            ("keys_after_rope", "keys after RoPE", "#56b4e9"),
            ("values", "values", "#d55e00"),
        ):
            axis.plot([layer[name][part] for layer in layers], label=label, color=colour, marker=".")
        axis.set(xlabel="layer", title=f"leading {part} of the directions", ylim=(0.8, 1.005))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("share of energy")
    axes[1].legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
