"""The files of `to_onnx` in the runtimes, and the page that says who computes them."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from onnx_nodes import Case

import jaxrnn as rnn
from jaxrnn import interop
from jaxrnn.interop import doctor
from jaxrnn.interop.doctor import RUNTIMES, diagnose, runtimes
from jaxrnn.testing.trees import jitter

B, T, D, H, V = 3, 5, 3, 4, 11
LENGTHS = np.array([T, 0, 3], np.int32)
FIXED = {"batch": B, "time": T}


def both(cell: rnn.Cell) -> rnn.Cell:
    return rnn.bidirectional(cell, cell)


def peephole(theta, z, carry):
    i, f, g, o = jnp.split(z, 4)
    i = jax.nn.sigmoid(i + theta[0] * carry.c)
    c = jax.nn.sigmoid(f + theta[1] * carry.c) * carry.c + i * jnp.tanh(g)
    return rnn.LSTMCarry(jax.nn.sigmoid(o + theta[2] * c) * jnp.tanh(c), c)


PEEPHOLE = rnn.recurrent(
    *(D, H, peephole),
    gates=4,
    carry_type=rnn.LSTMCarry,
    theta_init=lambda key: jax.random.normal(key, (3, H)),
)
LISTED = {  # in the table
    "`elman`": rnn.elman(D, H),
    "`elman`, relu": rnn.elman(D, H, activation=jax.nn.relu),
    "`gru`": rnn.gru(D, H),
    "`gru`, reset before": rnn.gru(D, H, reset_after=False),
    "`lstm`": rnn.lstm(D, H),
    "`bidirectional` of `lstm`": both(rnn.lstm(D, H)),
    "`bidirectional` of `gru`": both(rnn.gru(D, H)),
    "`projected_lstm`": rnn.projected_lstm(D, H, 2),
    "any other cell": PEEPHOLE,
    "`bidirectional` of any other": both(PEEPHOLE),
}
MORE = {
    "learned": rnn.learned_carry(rnn.lstm(D, H)),
    "both ways": both(rnn.elman(D, H)),
    "mixed": rnn.bidirectional(rnn.gru(D, H), rnn.elman(D, H)),
    "reset before, both ways": both(rnn.gru(D, H, reset_after=False)),
    "no biases": rnn.chain(rnn.gru(D, H, bias=False), rnn.lstm(H, H, bias=False)),
    "gru stack": rnn.chain(rnn.gru(D, H), rnn.gru(H, H)),
    "lstm stack": rnn.chain(rnn.lstm(D, H), rnn.residual(rnn.lstm(H, H))),
    "unlike lstm stack": rnn.chain(rnn.lstm(D, H), rnn.lstm(H, 2 * H)),
    "both ways stack": rnn.chain(both(rnn.lstm(D, H)), both(rnn.lstm(2 * H, H))),
    "norm": rnn.chain(rnn.gru(D, H), rnn.layer_norm(H), rnn.linear(H, 2)),
    "tagger": rnn.chain(rnn.embedding(V, D), both(rnn.gru(D, H)), rnn.linear(2 * H, 2)),
    "scan stack": rnn.chain(PEEPHOLE, rnn.gru(H, H)),
}
FORMS: dict[str, dict[str, Any]] = {
    "any": {},
    "fixed": FIXED,
    "lengths": {"lengths": True},
    "lengths, fixed": {"lengths": True, **FIXED},
}


def exported(cell: rnn.Cell, params: Any = None, **options: Any):
    """The file, what it reads, and what the cell gives."""
    if params is None:
        params = jitter(cell.init(jax.random.key(0)), np.random.default_rng(0))
    model = interop.to_onnx(cell, params, **options)
    noise = np.random.default_rng(1)
    xs: Any = noise.normal(size=(B, T, D)).astype(np.float32)
    if "embedding" in str(cell):
        xs = noise.integers(0, V, (B, T), np.int32)
    lengths = LENGTHS if options.get("lengths") else np.full(B, T, np.int32)

    def one(xs, length):
        carry = cell.initial_carry(params)
        return cell.unroll(params, carry, xs, mask=jnp.arange(T) < length)

    carry, ys = jax.vmap(one)(xs, lengths)
    feeds = {"xs": xs, "lengths": lengths}
    feeds = {entry.name: feeds[entry.name] for entry in model.graph.input}
    wanted = map(np.asarray, [ys, *jax.tree.leaves(carry)])
    names = [entry.name for entry in model.graph.output]
    return model, feeds, dict(zip(names, wanted, strict=True))


def own_table() -> str:
    """Which runtimes compute the files, by the doctor's rules."""
    columns = ["any", "lengths", "lengths, fixed"]
    heads = "computed by", "with `lengths=True` by", "with `batch` and `time` too by"
    lines = [f"| cell | node | {' | '.join(heads)} |", "|---" * 5 + "|"]
    for name, cell in LISTED.items():
        cells = [name]
        for column in columns:
            params = cell.init(jax.random.key(0))
            model = interop.to_onnx(cell, params, **FORMS[column])
            other = {finding.runtime for finding in diagnose(model)}
            kinds = {node.op_type for node in model.graph.node}
            if column == "any":
                cells += [*(kinds & {"RNN", "GRU", "LSTM", "Scan"})]
            cells.append(", ".join(r for r in RUNTIMES if r not in other))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def test_the_page_tells_who_computes_our_own_files():
    page = (Path(__file__).parents[2] / "docs" / "howto" / "export.md").read_text()
    assert own_table() in page


@pytest.fixture(scope="module")
def files():
    """Every file, and one of a node with peepholes, which `load_onnx` reads."""
    cells = {name: (cell, None) for name, cell in (LISTED | MORE).items()}
    cells["peepholes"] = interop.load_onnx(Case("LSTM", peepholes=True).model)
    return {
        f"{name}; {form}": exported(cell, params, **options)
        for name, (cell, params) in cells.items()
        for form, options in FORMS.items()
    }


def equal(answer: Any, wanted: dict[str, np.ndarray]) -> bool:
    return not isinstance(answer, runtimes.Failure) and all(
        answer[name].shape == array.shape and np.abs(answer[name] - array).max() < 1e-5
        for name, array in wanted.items()
    )


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_runtime_computes_the_files_that_the_rules_say(runtime, files):
    """And, rewritten for it, the others."""
    if runtime not in runtimes.installed():
        pytest.skip(f"{runtime} is not installed: pip install 'jaxrnn[runtimes]'")
    found = {name: diagnose(model, [runtime]) for name, (model, _, _) in files.items()}
    models = {name: model for name, (model, _, _) in files.items()}
    for name, findings in found.items():
        if findings:
            changed = doctor.rewrite(models[name], [runtime])
            if not diagnose(changed, [runtime]):
                models[f"{name}; rewritten"] = changed
    jobs = [
        (model.SerializeToString(), files[name.removesuffix("; rewritten")][1])
        for name, model in models.items()
    ]
    wrong = {}
    for name, answer in zip(models, runtimes.run(runtime, jobs), strict=True):
        findings = found.get(name, [])
        if any("or works" in finding.what for finding in findings):
            continue
        wanted = files[name.removesuffix("; rewritten")][2]
        if equal(answer, wanted) == bool(findings):
            wrong[name] = answer if isinstance(answer, tuple) else findings
    assert not wrong, wrong
