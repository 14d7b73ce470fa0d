"""A case on torch: weights put in, checked, timed."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from benchmarks.systems import UnsupportedError, resident
from benchmarks.work import equal
from benchmarks.work.equal import CLASSES, LEARNING_RATE, Data, Reference, Weights
from benchmarks.work.gated import MASKED, TWO_BIASES, Block, Case, one_of_two

MODULES = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class Network(nn.Module):
    """Recurrent layers and a readout of the last output of each direction."""

    def __init__(self, case: Case):
        super().__init__()
        self.directions = case.directions
        self.layers = MODULES[case.cell](
            case.input_size,
            case.hidden_size,
            num_layers=case.layers,
            bidirectional=case.directions == 2,
            batch_first=True,
        )
        self.readout = nn.Linear(case.directions * case.hidden_size, CLASSES)

    def forward(self, xs, carry=None, lengths=None):
        """Logits [B, K] and the carry after the last step."""
        if lengths is not None:
            xs = pack_padded_sequence(xs, lengths, True, enforce_sorted=False)
        _, carry = self.layers(xs, carry)
        h = carry[0] if isinstance(carry, tuple) else carry
        return self.readout(torch.cat(tuple(h[-self.directions :]), dim=-1)), carry


def convert(case: Case, weights: Weights, rest: float = 0.0) -> dict[str, np.ndarray]:
    """The weights under torch's names.

    `rest` fills the second bias, which torch has and the function does not need, but
    for b_h of the GRU.
    """
    arrays = {"readout.weight": weights.w.T, "readout.bias": weights.b}
    for i, blocks in enumerate(weights.layers):
        for block, suffix in zip(blocks, ("", "_reverse"), strict=False):
            names = _block(case, block, rest)
            arrays |= {f"layers.{k}_l{i}{suffix}": a for k, a in names.items()}
    return arrays


def _block(case: Case, block: Block, rest: float) -> dict[str, np.ndarray]:
    second = np.full_like(block.b, rest)
    if block.b_h is not None:
        second[-case.hidden_size :] = block.b_h
    return {
        "weight_ih": block.w_x.T,
        "weight_hh": block.w_h.T,
        "bias_ih": block.b,
        "bias_hh": second,
    }


def variant(case: Case) -> str:
    """Which function its modules train: both of their biases learn."""
    return TWO_BIASES if case.work == "epoch" else ""


class Run:
    """A case, ready to be timed.

    Args:
      case: the case.
      data: its start.
      devices: the number of threads that torch may use on a CPU.
      platform: "cpu" or "gpu".
      transform: of the function that computes the logits; for `torch.compile`.
    """

    def __init__(
        self,
        case: Case,
        data: Data,
        devices: int,
        platform: str,
        transform: Callable = lambda fun: fun,
    ):
        if case.valid == MASKED:
            raise UnsupportedError("it packs sequences by length; it has no masks")
        torch.set_num_threads(devices)
        self.case, self.on_gpu = case, platform == "gpu"
        if self.on_gpu:  # as XLA does by default
            torch.backends.cuda.matmul.allow_tf32 = True
            torch.backends.cudnn.allow_tf32 = True
        self.device = torch.device("cuda" if self.on_gpu else "cpu")
        self.dtype = getattr(torch, case.dtype)
        self.start = data.weights
        self.weights = self._put(convert(case, data.weights))
        self.network = Network(case).to(self.device, self.dtype)
        self.network.load_state_dict(self.weights)
        self.network.train(case.trains)
        self.xs = torch.from_numpy(data.xs).to(self.device, self.dtype)
        self.labels = torch.from_numpy(data.labels).to(self.device).long()
        self.lengths = None  # on the CPU, as packing wants them
        if data.valid is not None:
            self.lengths = torch.from_numpy(data.valid).long()
        batches = torch.split(self.xs, case.batch), self.labels.split(case.batch)
        self.batches = list(zip(*batches, strict=True))
        self.optimizer = torch.optim.SGD(self.network.parameters(), LEARNING_RATE)
        self.apply = transform(self.network)
        call, self.memory_bytes = getattr(self, f"_{case.mode}"), None
        before = self._start_memory()
        start = time.perf_counter()
        call()
        self._wait()
        self.compile_seconds: float | None = time.perf_counter() - start
        call()
        self._wait()
        self.memory_bytes = self._end_memory(before)

    def _put(self, arrays):
        return {
            name: torch.tensor(a).to(self.device, self.dtype)
            for name, a in arrays.items()
        }

    def _wait(self):
        if self.on_gpu:
            torch.cuda.synchronize()

    def _train(self):
        loss = torch.zeros(())
        for xs, labels in self.batches:
            self.optimizer.zero_grad(set_to_none=True)
            logits, _ = self.apply(xs, lengths=self.lengths)
            loss = functional.cross_entropy(logits, labels)
            loss.backward()
            self.optimizer.step()
        return loss

    def _epoch(self):
        return self._train()

    def _forward(self):
        with torch.inference_mode():
            return self.apply(self.batches[0][0], lengths=self.lengths)[0]

    def _tick(self, carry=None, t=0):
        with torch.inference_mode():
            return self.apply(self.xs[:, t : t + 1], carry)

    def check(self, reference: Reference) -> dict[str, float]:
        """The errors of the program."""
        self.network.load_state_dict(self.weights)
        if self.case.mode == "tick":
            carry, logits = None, None
            for t in range(self.case.time):
                logits, carry = self._tick(carry, t)
            return equal.logits_errors(_numpy(logits), reference)
        logits = self._forward()
        errors = equal.logits_errors(_numpy(logits), reference)
        if self.case.mode == "forward":
            return errors
        loss = self._train().item()
        after = self.network.state_dict()
        goal = reference.after
        if self.case.num_updates > 1:
            goal = one_of_two(self.case, self.start, goal)
        expected = convert(self.case, goal, rest=np.nan)
        names = list(after)
        return (
            errors
            | equal.loss_error(loss, reference)
            | equal.update_errors(
                [_numpy(self.weights[name]) for name in names],
                [_numpy(after[name]) for name in names],
                [expected[name] for name in names],
                self.case.dtype,
            )
        )

    def seconds(self, calls: int) -> float:
        """The time of that many calls, after one that does not count."""
        if self.case.mode == "tick":
            _, carry = self._tick()
            self._wait()
            start = time.perf_counter()
            for _ in range(calls):
                _, carry = self._tick(carry)
                self._wait()
            return time.perf_counter() - start
        self.network.load_state_dict(self.weights)
        call = self._train if self.case.trains else self._forward
        call()
        self._wait()
        start = time.perf_counter()
        for _ in range(calls):
            call()
            if self.case.mode == "forward":
                self._wait()
        self._wait()
        return time.perf_counter() - start

    def _start_memory(self) -> int | None:
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
            return 0
        return resident.start()

    def _end_memory(self, before: int | None) -> int | None:
        if self.on_gpu:
            return torch.cuda.max_memory_allocated()
        grown = resident.end(before)
        # What was there before the first call: weights and inputs.
        held = [*self.weights.values(), self.xs]
        kept = sum(t.numel() * t.element_size() for t in held)
        return None if grown is None else grown + kept


def _numpy(tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
