# SPDX-License-Identifier: Apache-2.0
"""The table of the GPU benchmarks, from their JSON lines.

    python3 benchmarks/cuda/table.py compression.jsonl [peer.jsonl]
"""
import json
import sys


def rows(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.startswith("{")]


def main():
    ours = rows(sys.argv[1])
    peers = rows(sys.argv[2]) if len(sys.argv) > 2 else []
    device = next(r for r in ours if "device" in r)
    torch = next((r["torch"] for r in peers if "torch" in r), None)
    print(f"On an {device['device']} ({device['processors']} processors)" + (f", PyTorch {torch}." if torch else "."))
    print()
    print("| what | shape | launches | median us | spread | floor GB/s | of the copy | eager PyTorch |")
    print("|---|---|---|---|---|---|---|---|")
    speed = lambda r: r["floor_bytes"] / r["us"] / 1e3
    copies = [r for r in ours if r.get("name", "").startswith("device copy")]
    theirs = {(r["name"], r["shape"]): r["us"] for r in peers if "name" in r}
    for r in ours:
        if "name" not in r:
            continue
        copy = max(map(speed, copies))  # the best of all, so that no ratio flatters us
        rate, part = (f"{speed(r):.0f}", f"{speed(r) / copy:.0%}") if r["floor_bytes"] else ("", "")
        peer = theirs.get((r["name"], r["shape"]))
        ratio = f"{peer / r['us']:.1f}x" if peer else ""
        print(f"| {r['name']} | {r['shape']} | {r['kernels']} | {r['us']:.1f} | {r['spread']:.0%} | {rate} | {part} | {ratio} |")


main()
