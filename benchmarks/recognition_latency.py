"""What an embedding costs: a student in PyTorch and as the exported ONNX file, picture by picture and in batches, on one core.

    OMP_NUM_THREADS=1 python benchmarks/recognition_latency.py
    OMP_NUM_THREADS=1 python benchmarks/recognition_latency.py --architecture resnet18 --length 512

Prints a table of processor milliseconds a picture (median over repeats), at several sides of the picture, and how much less the graph
takes. Weights are random: time does not depend on them. Each graph is checked against its network before it is timed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from stillhouse.methods.recognition.card import Card
from stillhouse.methods.recognition.export_onnx import export_onnx
from stillhouse.methods.recognition.networks import Recogniser
from stillhouse.methods.recognition.onnx_file import INPUT, open_session
from stillhouse.platform.nn.trunks import TRUNKS


def milliseconds(once: Callable[[], object], repeats: int) -> float:
    """Median processor milliseconds of a call, after two that warm up."""
    once()
    once()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        once()
        times.append(time.process_time() - began)
    return 1000 * statistics.median(times)


def row(network: Recogniser, session: object, batch: int, repeats: int) -> tuple[float, float]:
    """Milliseconds a picture: PyTorch, ONNX."""
    pictures = torch.rand(batch, 3, network.side, network.side)
    given = {INPUT: pictures.numpy()}

    def forward() -> None:
        with torch.inference_mode():
            network(pictures)

    ours = milliseconds(forward, repeats) / batch
    graphs = milliseconds(lambda: session.run(None, given), repeats) / batch  # type: ignore[attr-defined]
    return ours, graphs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="resnet_small", choices=sorted(TRUNKS))
    parser.add_argument("--length", type=int, default=128, help="of the embedding")
    parser.add_argument("--sides", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{options.architecture}, embedding of {options.length}, one thread; ms a picture")
    print("side  weights  batch  PyTorch    ONNX  ONNX/PyTorch  largest difference")
    for side in options.sides:
        torch.manual_seed(0)
        network = Recogniser(options.architecture, side=side, embedding_length=options.length).eval()
        size = sum(one.numel() for one in network.parameters())
        with tempfile.TemporaryDirectory() as folder:
            card = Card(options.architecture, side, options.length)
            written = export_onnx(network, card, Path(folder) / "student.onnx")
            session = open_session(written.path.read_bytes(), threads=1)
        for batch in options.batches:
            ours, graphs = row(network, session, batch, options.repeats)
            ratio = graphs / ours
            print(
                f"{side:4}  {size / 1e6:6.2f}M  {batch:5}  {ours:7.2f}  {graphs:6.2f}  {ratio:12.2f}  {written.difference:18.1e}"
            )


if __name__ == "__main__":
    main()
