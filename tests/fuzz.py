"""Bad input, tried in numbers: what do the readers and the functions do with it?

    python tests/fuzz.py --seconds 60
    python tests/fuzz.py --target idx --inputs 10000

Targets: `idx` to `safetensors` read mutated files (idx, gzip, plain text, TSV, CSV,
MATLAB, tar, captions, safetensors), `config` resumes runs whose
config.json was mutated, `checkpoint` restores one of which a file was, `arguments`
calls public functions with valid arguments, one to three of them replaced by anything.
Allowed is a result, or the error that is documented, raised on purpose and not by
something that it called; within a time and within a limit on memory. With atheris the
inputs are guided by coverage, else (or with `--plain`) they are drawn from a seed.
"""

import argparse
import collections
import contextlib
import copy
import gzip
import io
import itertools
import json
import linecache
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


class Target(NamedTuple):
    """Reads one input and says what came of it; raises what is not allowed."""

    seeds: list[bytes]
    run: Callable[[bytes], str]
    megabytes: int  # that one input may take
    seconds: float  # that one input may take


class NotAllowed(Exception):  # noqa: N818 - what the fuzzer looks for
    """An outcome that nothing documents."""


class TooSlow(BaseException):
    """Not an Exception, so that nothing but the fuzzer catches it."""


def mutate(rng: random.Random, data: bytes) -> bytes:
    """One to four random changes."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        some = rng.randrange(1, 9)
        match rng.randrange(7):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                del changed[at : at + some]
            case 2:
                changed[at:at] = rng.randbytes(some)
            case 3:
                changed[at : at + some] = rng.choice([b"\xff", b"\0"]) * some
            case 4:
                changed[at:at] = changed[at : at + some]
            case 5:
                del changed[at:]
            case 6:
                digits = [
                    b"0",
                    b"-1",
                    b"9" * 9,
                    b"9" * 19,
                    b"1e999",
                    b"null",
                    b"[",
                    b"{",
                ]
                changed[at : at + some] = rng.choice(digits)
    return bytes(changed)


@contextlib.contextmanager
def limits(target: Target) -> Iterator[None]:
    """Of address space and of time, for what happens inside."""

    def alarm(*_):
        raise TooSlow

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + target.megabytes * 2**20
    handler = signal.signal(signal.SIGALRM, alarm)
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    signal.setitimer(signal.ITIMER_REAL, target.seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGALRM, handler)


class Tally:
    """Tries inputs, counts the outcomes, and keeps one example of each bad one."""

    def __init__(self, target: Target):
        self.target = target
        self.outcomes = collections.Counter()
        self.bad: dict[str, bytes] = {}
        self.details: dict[str, str] = {}
        self.slowest = 0.0

    @property
    def tried(self) -> int:
        return self.outcomes.total()

    def __call__(self, data: bytes) -> None:
        start, detail = time.perf_counter(), ""
        try:
            with limits(self.target):
                outcome, good = self.target.run(data), True
        except TooSlow:
            outcome, good = f"took more than {self.target.seconds:g} seconds", False
        except NotAllowed as error:
            outcome, good, detail = str(error), False, traceback.format_exc()
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            outcome = f"{type(error).__name__} at {Path(where.filename).name}"
            good, detail = False, traceback.format_exc()
        self.slowest = max(self.slowest, time.perf_counter() - start)
        self.outcomes[outcome] += 1
        if not good and outcome not in self.bad:
            self.bad[outcome], self.details[outcome] = data, detail

    def report(self, name: str) -> str:
        lines = [
            f"{name}: {self.tried:,} inputs tried, {len(self.bad)} kinds of outcome "
            f"not allowed, slowest {self.slowest:.2f} s"
        ]
        for outcome, count in self.outcomes.most_common():
            mark = "  NOT ALLOWED" if outcome in self.bad else ""
            lines.append(f"  {count:8,}  {outcome}{mark}")
            if mark:
                lines.append(f"            with {self.bad[outcome][:200]!r}")
        return "\n".join(lines)


def try_plain(
    target: Target, *, seed: int = 0, inputs: int | None = None, seconds: float = 1e9
) -> Tally:
    """Tries the seeds and then mutations of them, drawn from a seed."""
    tally, rng = Tally(target), random.Random(seed)
    end = time.perf_counter() + seconds
    for data in target.seeds:
        tally(data)
    while time.perf_counter() < end and (inputs is None or tally.tried < inputs):
        tally(mutate(rng, rng.choice(target.seeds)))
    return tally


def try_guided(
    make: Callable[[Path], Target],
    folder: Path,
    finish: Callable[[Tally], int],
    *,
    seed: int,
    inputs: int | None,
    seconds: float,
) -> None:
    """Lets atheris choose the inputs; never returns, since libFuzzer does not."""
    import atheris

    instrument: Any = getattr(atheris, "instrument_imports")  # noqa: B009
    with instrument(include=["jaxrnn", "experiments.data"]):
        target = make(folder)
    tally, end = Tally(target), time.perf_counter() + seconds
    corpus = folder / "corpus"
    corpus.mkdir()
    for i, data in enumerate(target.seeds):
        (corpus / f"{i}").write_bytes(data)

    def one(data: bytes) -> None:
        tally(data)
        if time.perf_counter() > end or (inputs is not None and tally.tried >= inputs):
            status = finish(tally)
            sys.stdout.flush()
            os._exit(status)

    options = [f"-seed={seed + 1}", "-max_len=4096", "-rss_limit_mb=0", "-verbosity=0"]
    options.append(f"-artifact_prefix={folder}/")
    atheris.Setup([sys.argv[0], *options, "-timeout=0", str(corpus)], one)
    atheris.Fuzz()


# --- files


def idx(folder: Path) -> Target:
    """The first byte tells whether the rest is the gzip file or what is in it."""
    from experiments.data import DataError
    from experiments.data.formats.idx import read_idx

    def header(*sizes):
        return struct.pack(f">BBBB{len(sizes)}I", 0, 0, 8, len(sizes), *sizes)

    contents = [
        header(5) + bytes(range(5)),
        header(3, 2, 2) + bytes(range(12)),
        header(2, 28, 28) + bytes(2 * 28 * 28),
        header(10**9) + bytes(range(5)),
        header(10**9, 28, 28),
        header(*[2**32 - 1] * 3) + bytes(8),
        header(0, 28, 28),
    ]
    path = folder / "file.gz"

    def run(data: bytes) -> str:
        raw, rest = data[:1] < b"\x80", data[1:]
        path.write_bytes(rest if raw else gzip.compress(rest, 1))
        try:
            array = read_idx(path)
        except DataError as error:
            if not str(error).startswith(f"{path}: "):
                raise NotAllowed(f"a message without the file: {error}") from error
            return "DataError"
        if array.size == 0 or array.size > 2**12 * len(data):
            raise NotAllowed(f"an array of shape {array.shape}")
        return "an array"

    # Also without a checksum, so that mutations of the compressed bytes get further.
    members = [gzip.compress(content, mtime=0) for content in contents]
    deflated = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = (
        deflated.compress(header(1000, 28, 28) + bytes(1000 * 784)) + deflated.flush()
    )
    seeds = [b"\0" + member for member in [*members, bomb, members[0] * 2]]
    return Target(seeds + [b"\xff" + content for content in contents], run, 256, 10)


def reader(folder: Path, good: dict[str, bytes], read: Callable[[Path], Any]) -> Target:
    """A data set of several files, one of which is mutated.

    The first byte of an input tells which, and whether the rest is to be packed.
    """
    from experiments.data import DataError

    names = list(good)

    def write(name: str, content: bytes, packed: bool) -> None:
        if name.endswith(".gz") and packed:
            content = gzip.compress(content, 1)
        (folder / name).write_bytes(content)

    for name, content in good.items():
        write(name, content, True)

    def run(data: bytes) -> str:
        head = data[0] if data else 0
        name = names[head % len(names)]
        write(name, data[1:], head < 128)
        try:
            read(folder)
        except DataError as error:
            if name not in str(error):
                raise NotAllowed(f"a message without {name}: {error}") from error
            return "DataError"
        finally:
            write(name, good[name], True)
        return "data"

    number = len(names) * (128 // len(names))  # the first head for what is packed
    seeds = []
    for i, (name, content) in enumerate(good.items()):
        seeds += [bytes([i]) + content] * 2
        if name.endswith(".gz"):
            seeds.append(bytes([number + len(names) + i]) + gzip.compress(content))
    return Target(seeds, run, 512, 10)


def text(folder: Path) -> Target:
    """Plain text for the language model."""
    from experiments.data import corpus

    poem = "산에는 꽃 피네\r\n꽃이 피네\n\n갈 봄 여름 없이\n".encode()
    read = {"poem.txt": poem, "play.txt": b"\xef\xbb\xbfFirst Citizen:\nSpeak.\n"}
    return reader(folder, read, corpus.from_path)


def nsmc(folder: Path) -> Target:
    """TSV with a header."""
    from experiments.data import documents

    lines = 'id\tdocument\tlabel\n1\t좋아요 ""굿""\t1\n2\t\t0\n3\t별로..\t0\n'
    names = [f"ratings_{split}.txt.gz" for split in ("train", "test")]
    good = dict.fromkeys(names, lines.encode())
    return reader(folder, good, lambda p: documents.load_documents("nsmc", p))


def sst2(folder: Path) -> Target:
    """Labels and sentences."""
    from experiments.data import documents

    names = [f"stsa.binary.{split}" for split in ("train", "dev", "test")]
    good = dict.fromkeys(names, b"1 a good , kind film\n0 -lrb- dull -rrb-\n")
    return reader(folder, good, lambda p: documents.load_documents("sst2", p))


def multi30k(folder: Path) -> Target:
    """Two files, line by line parallel."""
    from experiments.data import parallel

    texts = {"en": b"A dog runs.\nTwo men.\n", "de": b"Ein Hund rennt.\nZwei M.\n"}
    names = parallel.DATASETS["de"].files.digests
    good = {name: texts[name.split(".")[1]] for name in names}
    return reader(folder, good, lambda p: parallel.load_corpus("en", "de", p))


def tatoeba(folder: Path) -> Target:
    """TSV of three columns."""
    from experiments.data import parallel

    lines = [f"Go {word}.\t{word} 가.\tCC-BY 2.0\n" for word in "abcdefghijklm"]
    good = {"kor.txt.gz": "".join(lines).encode()}
    return reader(folder, good, lambda p: parallel.load_corpus("en", "ko", p))


def series(folder: Path) -> Target:
    """CSV of dates and numbers."""
    from experiments.data import series

    hours = b"date,a,b\n2016-07-01 00:00:00,1.5,-2\n2016-07-01 01:00:00,1e3,0\n"
    months = b'# a note\n"Month","Passengers"\r\n"1949-01",112\r\n"1949-02",118'
    good = {"hours.csv.gz": hours, "months.csv": months}

    def read(folder):
        for name in good:
            series.read_csv(folder / name)

    return reader(folder, good, read)


def matlab(folder: Path) -> Target:
    """Cell arrays of piano rolls, packed and not."""
    import numpy as np
    from scipy.io import savemat

    from experiments.data import music

    rng = np.random.default_rng(0)
    cells = np.empty((1, 2), object)
    cells[0, :] = [(rng.random((n, 88)) < 0.05).astype(np.uint8) for n in (3, 2)]
    content = {f"{split}data": cells for split in ("train", "valid", "test")}
    (name,) = music.DATASETS["jsb"].files.digests
    targets = []
    for packed in (False, True):
        file = io.BytesIO()
        savemat(file, content, do_compression=packed)
        good = {name: file.getvalue()}
        targets.append(reader(folder, good, lambda p: music.load_music("jsb", p)))
    return targets[0]._replace(seeds=targets[0].seeds + targets[1].seeds)


def captions(folder: Path) -> Target:
    """A table of captions, and a tar archive of images."""
    import tarfile

    from PIL import Image

    from experiments.data import captions

    table = "image\tflickr8k_split\tcaption\n"
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for number, split in enumerate(("train", "dev", "test")):
            image = io.BytesIO()
            form = "JPEG" if number else "PNG"
            Image.new("RGB", (5, 7), (40, 80, 160)).save(image, form)
            member = tarfile.TarInfo(f"{number}.jpg")
            member.size = len(image.getvalue())
            tar.addfile(member, io.BytesIO(image.getvalue()))
            table += f"{number}.jpg\t{split}\tA dog runs .\n"
    good = {"captions.tsv": table.encode(), "images128.tar": file.getvalue()}

    def read(folder: Path) -> None:
        before = {p.name for p in folder.iterdir()}
        captions.load_captions(3, folder)
        if {p.name for p in folder.iterdir()} != before:
            raise NotAllowed("a file that was not there")

    return reader(folder, good, read)


def safetensors(folder: Path) -> Target:
    """Files for one and the same `like`."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxrnn import interop

    like = {
        "w": jax.ShapeDtypeStruct((3, 5), jnp.float32),
        "b": (jax.ShapeDtypeStruct((5,), jnp.bfloat16), jnp.zeros((), jnp.int32)),
        "empty": jnp.zeros((0, 4), jnp.float16),
        "on": jnp.ones(3, bool),
    }
    path = folder / "file.safetensors"
    interop.save_safetensors(
        jax.tree.map(lambda a: jnp.ones(a.shape, a.dtype), like), path
    )
    good = path.read_bytes()
    size = struct.unpack("<Q", good[:8])[0]
    header, body = json.loads(good[8 : 8 + size]), good[8 + size :]

    def file(header: Any, body: bytes = body, size: int | None = None) -> bytes:
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text) if size is None else size) + text + body

    first = next(iter(header))
    seeds = [
        good,
        file(header),
        file({"__metadata__": {"made": "by hand"}, **header}),
        file(header, size=10**9),
        file(header, size=2**64 - 1),
        file({**header, first: {**header[first], "shape": [10**9, 10**9]}}),
        file({**header, first: {**header[first], "data_offsets": [0, 10**12]}}),
        file({**header, first: {**header[first], "dtype": "F8_E4M3"}}),
        file({name: header[name] for name in list(header)[1:]}),
        file([]),
        file({}, b""),
        b"",
    ]

    def run(data: bytes) -> str:
        path.write_bytes(data)
        try:
            loaded = interop.load_safetensors(path, like)
        except ValueError as error:
            on_purpose(error)
            return "ValueError"
        for (where, a), b in zip(
            jax.tree_util.tree_leaves_with_path(loaded),
            jax.tree.leaves(like),
            strict=True,
        ):
            if (a.shape, a.dtype) != (b.shape, b.dtype):
                raise NotAllowed(f"{where} came as {a.dtype} {a.shape}")
            if a.dtype == bool and np.asarray(a).view(np.uint8).max() > 1:
                raise NotAllowed(f"{where}: a bool that is neither true nor false")
        return "params"

    return Target(seeds, run, 256, 10)


def config(folder: Path) -> Target:
    """A run is resumed whose config.json is anything."""
    import dataclasses

    from experiments import lab
    from experiments.lab.folder import Folder
    from experiments.lab.options import replaced

    @dataclasses.dataclass(frozen=True)
    class Config(lab.Config):
        """What is resumed."""

        size: int = 7
        rate: float | None = 0.5
        names: tuple[str, ...] = ("a", "b")

    out = folder / "run"
    options = {"out": out, "data_dir": Path("data"), "devices": 2, "keep": 5}
    made = replaced(Config(), options)
    with Folder("fuzz", made):
        good = (out / "config.json").read_bytes()

    def unused(*args: Any) -> Any:
        raise AssertionError("no run is made")

    study = lab.Study("fuzz", lab.Recipes(made), unused, unused, unused)
    lab.parse(study, [])  # imports what it needs
    others = [None, [], 7, "size", {}, {"size": [[]]}, [good.decode()], float("nan")]
    seeds = [good, *(json.dumps(other).encode() for other in others), b"[" * 4000]

    def run(data: bytes) -> str:
        (out / "config.json").write_bytes(data)
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                resumed = lab.parse(study, ["--out", str(out), "--resume"])
            with Folder("fuzz", resumed):
                return "resumed"
        except lab.UsageError:
            return "UsageError"
        except SystemExit as end:  # by the reader of the command line
            if end.code != 2:
                raise
            return "UsageError"

    return Target(seeds, run, 256, 10)


def checkpoint(folder: Path) -> Target:
    """A run is restored; the first byte tells which file of its checkpoint changed."""
    import jax
    import jax.numpy as jnp

    from experiments import lab
    from experiments.lab import checkpoints
    from experiments.lab.quiet import quiet

    state = {"w": jnp.arange(15.0).reshape(3, 5), "key": jax.random.key(0)}
    made, tried = folder / "made", folder / "tried"
    saver = checkpoints.Checkpoints(made, keep=1)
    saver.save(7, state, {"lines": [{"loss": 0.5}]}, score=0.5)
    saver.finish()
    saver.close()
    files = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())

    def run(data: bytes) -> str:
        shutil.rmtree(tried, ignore_errors=True)
        shutil.copytree(made, tried)
        (tried / files[data[0] % len(files) if data else 0]).write_bytes(data[1:])
        try:
            with contextlib.redirect_stderr(io.StringIO()), quiet():
                found = checkpoints.restore(tried, state)
        except lab.RunError:
            return "RunError"
        if found is None or found.step != 7 or (found.state["w"] != state["w"]).any():
            raise NotAllowed(f"another state: {found}")
        return "the state"

    seeds = [bytes([i]) + (made / path).read_bytes() for i, path in enumerate(files)]
    return Target(seeds, run, 2048, 60)


# --- arguments


def on_purpose(error: Exception) -> None:
    """Raises NotAllowed unless a `raise` of the project made the error, with a name."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    ours = Path(frame.filename).is_relative_to(ROOT)
    line = linecache.getline(frame.filename, frame.lineno or 0).strip()
    if not (ours and line.startswith("raise") and type(error) is ValueError):
        inner = [
            f
            for f in traceback.extract_tb(error.__traceback__)
            if Path(f.filename).is_relative_to(ROOT / "jaxrnn")
        ]
        at = (
            f"{Path(inner[-1].filename).stem}.{inner[-1].name}" if inner else "no frame"
        )
        raise NotAllowed(f"{type(error).__name__} from below {at}") from error
    if ": " not in str(error):
        raise NotAllowed(f"a message without a name: {error}") from error


def values() -> dict[str, Callable[[], Any]]:
    """What an argument is replaced by; functions, so that nothing is shared."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import jaxrnn as rnn

    plain = [
        *(None, True, False, 0, 1, -1, 3, 5, 2**31, 10**18, -(10**18)),
        *(0.5, -0.5, 0.0, 1.0, 1e-320, 1e300, float("nan"), float("inf"), 1j),
        *("", "lstm", "relu", "concatenate", "float32", "int32", "\0", b"bytes"),
        *((), [], {}, (1,), [[1.0], [1.0, 2.0]], {"a": 1.0}, {3}, ..., object()),
        *(np.dtype("float16"), np.dtype("int64"), np.float32(1), np.int64(3)),
        *(
            np.array(["a"]),
            np.array([object()]),
            np.zeros(2, "M8[s]"),
            np.zeros((7, 3)),
        ),
        *(np.zeros(2, [("a", "f4")]), np.zeros((0, 3), "f"), jax.random.PRNGKey(0)),
        *(
            jax.ShapeDtypeStruct((7, 3), jnp.float32),
            jax.random.split(jax.random.key(0)),
        ),
        *(rnn.lstm(3, 5), rnn.bidirectional(rnn.gru(3, 5), rnn.gru(3, 5))),
        *(rnn.linear(5, 11), rnn.luong(5, 7), rnn.embedding(11, 3), rnn.dropout(0.5)),
        rnn.ElmanCarry("h"),  # pyright: ignore
        rnn.LSTMCarry(jnp.zeros(5), jnp.zeros(5)),
        rnn.LinearParams(jnp.ones((5, 3))),
        rnn.Directions((), ()),
        rnn.DropoutCarry(None, None),  # pyright: ignore
    ]
    shapes = [(), (0,), (3,), (5,), (7,), (7, 3), (7, 5), (2, 7, 3), (1, 1)]
    arrays = [jnp.ones(shape, "float32") for shape in shapes]
    arrays += [jnp.ones((7, 3), t) for t in ("bool", "int32", "float16", "complex64")]
    arrays += [jnp.ones(7, t) for t in ("bool", "int32", "uint8")]
    arrays += [jnp.full((7, 3), jnp.nan), jnp.full(7, -1)]
    return {f"{i}": (lambda v=v: v) for i, v in enumerate([*plain, *arrays])}


HUGE = 10**9  # so large a number is not tried for `SIZES`: it would be made


def calls(folder: Path) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Each public function with valid arguments, and methods of cells."""
    import jax
    import jax.numpy as jnp
    import optax

    import jaxrnn as rnn
    from jaxrnn import interop

    key, T, D, H, V, M = jax.random.key(0), 7, 3, 5, 11, 7
    xs, mask = jnp.ones((T, D)), jnp.arange(T) < 4
    sgd = optax.sgd(0.1)
    found: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {}

    def built(make):
        def call(**arguments):
            cell = make(*arguments.pop("cells", ()), **arguments)
            return jax.eval_shape(cell.init, key)

        return call

    def factory(make, **arguments):
        found[make.__name__] = built(make), arguments

    zeros = jax.nn.initializers.zeros
    weights = {"w_x_init": zeros, "w_h_init": zeros, "b_init": zeros}
    sizes = {"input_size": D, "hidden_size": H}
    shared = {
        **{**sizes, **weights, "bias": True, "unroll": 1},
        **{"dtype": jnp.float32, "compute_dtype": None, "heads": 1},
    }
    factory(rnn.elman, **shared, activation=jnp.tanh)
    functions = {"activation": jnp.tanh, "gate_activation": jax.nn.sigmoid}
    factory(rnn.gru, **shared, **functions, reset_after=True)
    factory(rnn.lstm, **shared, **functions, forget_bias=1.0)
    factory(rnn.projected_lstm, **shared, projection_size=2, forget_bias=1.0)
    factory(rnn.cornn, **shared, dt=0.1, gamma=1.0, epsilon=1.0)
    factory(rnn.lem, **shared, dt=1.0)
    factory(rnn.clockwork, **shared | {"hidden_size": 4}, periods=(1, 2))
    factory(
        rnn.orthogonal,
        **{**sizes, "w_x_init": zeros, "b_init": zeros, "unroll": 1},
        **{"matrix": "cayley", "a_init": "cayley", "dtype": jnp.float32},
    )
    timed = {**sizes, "timed": True, "dtype": jnp.float32}
    factory(rnn.cfc, **timed, mode="pure", backbone_units=7, activation=jnp.tanh)
    wirings = {"wiring": jnp.ones((H, H)), "sensory_wiring": jnp.ones((D, H))}
    factory(rnn.ltc, **timed, **wirings, motor_size=2, unfolds=6, constrained=True)
    factory(
        rnn.sru,
        **{**sizes, "projection_size": 2, "use_tanh": True, "skip": True},
        **{"rescale": True, "highway_bias": 0.0, "layer_norm": True},
    )
    factory(rnn.irnn, **shared, scale=1.0)
    independent = {"length": 9, "magnitude": 2.0, "last_layer": False}
    factory(rnn.indrnn, **shared, **independent, activation=jnp.tanh)
    factory(rnn.mgu, **shared, reset_after=True)
    factory(rnn.peephole_lstm, **shared, forget_bias=1.0, w_c_init=zeros)
    factory(rnn.coupled_lstm, **shared, forget_bias=1.0)
    factory(rnn.layer_norm_lstm, **shared, forget_bias=1.0, epsilon=1e-5)
    factory(rnn.layer_norm_gru, **shared, epsilon=1e-5)
    factory(rnn.slstm, **shared, depth=0.5)
    factory(
        rnn.slstm_layer,
        **{"size": 6, "heads": 3, "width": 4, "depth": 0.0, "scale": True},
        **{"dtype": jnp.float32, "compute_dtype": None, "unroll": 1},
    )
    convolution = {k: a for k, a in shared.items() if k not in ("input_size", "heads")}
    factory(
        rnn.conv_lstm,
        **{"input_shape": (4, 3), "kernel_size": 3, "peepholes": True},
        **{"forget_bias": 1.0, "w_c_init": zeros, **convolution},
    )
    drawn = rnn.indrnn(D, H).init(key)
    found["clip_indrnn"] = rnn.cells.clip_indrnn, {"params": drawn, "limit": 1.0}
    found["indrnn_limit"] = rnn.cells.indrnn_limit, {"length": 9, "magnitude": 2.0}
    found["projected"] = (
        rnn.train.projected,
        {"optimizer": sgd, "projection": lambda params: params},
    )
    factory(
        rnn.recurrent,
        **shared,
        apply=lambda z, carry: rnn.ElmanCarry(z),
        gates=1,
        carry_type=rnn.ElmanCarry,
        theta_init=None,
    )
    dtype = {"dtype": jnp.float32}
    heads = {"heads": 2, "method": "chunks", "chunk_size": 4, **dtype}
    more = {"key_size": 2, "value_size": 3, **heads}
    layer = {"input_size": D, "hidden_size": H, "w_init": zeros, **more}
    layer |= {"conv_size": 2, "conv_bias": True, "output_gate": True}
    factory(rnn.gla, **layer, rank=2, feature_map=jnp.tanh, gate_divisor=2.0)
    factory(rnn.delta_net, **layer, beta=True, activation="silu", norm="l2")
    factory(rnn.gated_delta_net, **layer, negative_eigenvalues=True)
    factory(rnn.mlstm, input_size=D, hidden_size=H, inner_size=8, **heads)
    factory(rnn.mlstm_cell, size=8, **heads)
    for recurrence in (
        *(rnn.gla_recurrence, rnn.delta_rule, rnn.gated_delta_rule),
        rnn.mlstm_recurrence,
    ):
        factory(recurrence, **more)
    factory(rnn.causal_conv, size=D, width=2, bias=True, w_init=zeros, **dtype)
    to = {"output_size": H, **dtype, "method": "best"}
    states = {"input_size": D, "state_size": H, **to}
    factory(rnn.lru, **states, r_min=0.1, r_max=0.9, max_phase=3.0)
    factory(
        rnn.s5,
        **states,
        **{"blocks": 1, "discretization": "zoh", "bidirectional": False},
        **{"conj_sym": True, "clip_eigs": False, "c_init": "lecun_normal"},
        **{"dt_min": 0.1, "dt_max": 0.2, "step_rescale": 1.0},
    )
    for make in (rnn.mingru, rnn.minlstm):
        factory(make, **sizes, **to, activation=jnp.tanh, bias=True)
    form = {**dtype, "method": "best"}
    factory(rnn.rg_lru, size=4, heads=2, only_real=True, min_rad=0.9, **form)
    factory(rnn.qrnn, **sizes, window=2, pooling="fo", **form)
    factory(
        rnn.selective_scan,
        **{"inner_size": D, "state_size": 2, "skip": True, "gate": True},
        **{"delta_bias": True, "delta_softplus": True, "complex_states": False},
        **form,
    )
    factory(
        rnn.mamba,
        **{"size": D, "state_size": 2, "width": 4, "inner_size": None},
        **{"delta_rank": None, "conv_bias": True, "bias": False},
        **{"delta_min": 0.1, "delta_max": 0.2, **form},
    )
    factory(
        rnn.linear,
        **dtype,
        **{"input_size": D, "output_size": H, "bias": True},
        **{"w_init": zeros, "b_init": zeros},
    )
    factory(rnn.embedding, vocab_size=V, size=D, w_init=zeros, **dtype)
    factory(rnn.layer_norm, size=D, epsilon=1e-6, **dtype)
    factory(rnn.activation, fun=jnp.tanh)
    factory(rnn.dropout, rate=0.5, per_step=False)
    memory = {"memory": jnp.ones((4, M)), "mask": jnp.arange(4) < 3}
    sizes = {"query_size": H, "memory_size": M, "weights": False}
    factory(rnn.luong, **sizes, score="general", **memory, **dtype)
    factory(rnn.bahdanau, **sizes, size=3, **memory, **dtype)
    gru = rnn.gru(D, H)
    found["chain"] = (
        lambda first, second: built(rnn.chain)(cells=(first, second)),
        {"first": gru, "second": rnn.linear(H, V)},
    )
    factory(rnn.residual, cell=rnn.gru(D, D))
    for make in (rnn.weight_drop, rnn.recurrent_dropout):
        factory(make, cell=gru, rate=0.5, where="w_h")
    factory(rnn.zoneout, cell=gru, rate=0.5)
    for make in (rnn.dropout_lstm, rnn.dropout_gru):
        factory(make, input_size=D, hidden_size=H, rate=0.5, per_step=True)
    factory(rnn.bidirectional, forward=gru, backward=gru, merge="concatenate")
    factory(rnn.remat, cell=gru, segment=3)
    factory(rnn.dilated, cell=gru, dilation=3)
    newton = {"jacobian": "full", "damping": 0.5, "radius": 2.0, "tolerance": 1e-3}
    newton["max_iterations"] = 3
    factory(rnn.parallel, cell=gru, **newton)
    factory(rnn.tied_embedding, vocab_size=V, size=H, cell=rnn.gru(H, H), **dtype)
    model = rnn.chain(rnn.embedding(V, D), rnn.gru(D, H), rnn.linear(H, V))
    factory(rnn.scheduled_sampling, cell=model, rate=0.5)
    reader = rnn.chain(rnn.gru(D, H), rnn.luong(H, M))
    feeding = rnn.chain(rnn.gru(D + H, H), rnn.luong(H, M))
    factory(rnn.input_feeding, cell=feeding, size=H)

    def attended(cell, memory, memory_mask):
        bound = rnn.attend(cell, memory, memory_mask)
        params = reader.init(key)
        return bound.unroll(params, reader.initial_carry(params), xs)

    attending = {"memory": memory["memory"], "memory_mask": memory["mask"]}
    found["attend"] = attended, {"cell": reader, **attending}

    tokens = jnp.arange(T) % V
    params = gru.init(key)
    carry = gru.initial_carry(params)
    given = {"cell": gru, "params": params, "carry": carry}
    factory(rnn.learned_carry, cell=gru, carry_init=zeros)
    found["starting"] = (
        lambda cell, carry: rnn.starting(cell, carry).initial_carry(params),
        {"cell": gru, "carry": carry},
    )
    found["rekeyed"] = rnn.rekeyed, {**given, "key": key}
    ways = {"mask": mask, "reverse": False, "starts": mask}
    found["trace"] = rnn.trace, {**given, "xs": xs, **ways}
    linear = rnn.linear(D, H)
    applied = {"layer": linear, "params": linear.init(key), "x": xs[0]}
    found["apply"] = rnn.apply, applied
    found["pack"] = rnn.pack, {"lengths": [3, 1, 2], "row_length": 4}
    cells = {
        "elman": (rnn.elman(D, H), xs),
        "gru": (gru, xs),
        "gru before": (rnn.gru(D, H, reset_after=False), xs),
        "lstm": (rnn.lstm(D, H), xs),
        "gla": (rnn.gla(D, H, **heads), xs),
        "gated_delta_net": (rnn.gated_delta_net(D, H, **heads), xs),
        "mlstm": (rnn.mlstm(D, H, inner_size=8, **heads), xs),
        "causal_conv": (rnn.causal_conv(D), xs),
        "lru": (rnn.lru(D, H), xs),
        "s5": (rnn.s5(D, 4, bidirectional=True), xs),
        "rg_lru": (rnn.rg_lru(D), xs),
        "mingru": (rnn.mingru(D, H), xs),
        "qrnn": (rnn.qrnn(D, H, window=2), xs),
        "mamba": (rnn.mamba(D), xs),
        "linear": (rnn.linear(D, H), xs),
        "embedding": (rnn.embedding(V, D), tokens),
        "layer_norm": (rnn.layer_norm(D), xs),
        "activation": (rnn.activation(jnp.tanh), xs),
        "dropout": (rnn.dropout(0.5), xs),
        "chain": (model, tokens),
        "residual": (rnn.residual(rnn.gru(D, D)), xs),
        "weight_drop": (rnn.weight_drop(gru, 0.5), xs),
        "recurrent_dropout": (rnn.recurrent_dropout(gru, 0.5), xs),
        "zoneout": (rnn.zoneout(gru, 0.5), xs),
        "dropout_lstm": (rnn.dropout_lstm(D, H, 0.5), xs),
        "dropout_gru": (rnn.dropout_gru(D, H, 0.5), xs),
        "bidirectional": (rnn.bidirectional(gru, gru), xs),
        "remat": (rnn.remat(gru), xs),
        "dilated": (rnn.dilated(gru, 3), xs),
        "cornn": (rnn.cornn(D, H), xs),
        "lem": (rnn.lem(D, H), xs),
        "cfc": (rnn.cfc(D, H, backbone_units=7), xs),
        "ltc": (rnn.ltc(D, H, motor_size=2), xs),
        "orthogonal": (rnn.orthogonal(D, H), xs),
        "clockwork": (rnn.clockwork(D, 4), xs),
        "sru": (rnn.sru(D, H), xs),
        "tied_embedding": (rnn.tied_embedding(V, H, rnn.gru(H, H)), tokens),
        "scheduled_sampling": (rnn.scheduled_sampling(model, 0.5), tokens),
        "luong": (rnn.luong(D, M), xs),
        "input_feeding": (
            rnn.attend(rnn.input_feeding(feeding, H), jnp.ones((4, M))),
            xs,
        ),
    }
    for name, (cell, inputs) in cells.items():
        params = cell.init(key)
        carry = cell.initial_carry(params, key)
        found[f"{name}: init"] = cell.init, {"key": key}
        found[f"{name}: initial_carry"] = (
            cell.initial_carry,
            {"params": params, "key": key},
        )
        if cell.step is not None:
            found[f"{name}: step"] = (
                cell.step,
                {"params": params, "carry": carry, "x": inputs[0]},
            )
        found[f"{name}: unroll"] = (
            lambda params, carry, xs, mask, reverse, starts, cell=cell: cell.unroll(
                params, carry, xs, mask=mask, reverse=reverse, starts=starts
            ),
            {"params": params, "carry": carry, "xs": inputs, **ways},
        )
    summing = rnn.scan_unroll(lambda params, carry, x: (carry, x))
    found["scan_unroll"] = (
        lambda xs, mask, reverse: summing((), (), xs, mask=mask, reverse=reverse),
        {"xs": xs, "mask": mask, "reverse": False},
    )
    found["newton_unroll"] = (
        lambda params, carry, xs, mask, reverse, starts: rnn.newton_unroll(
            gru, params, carry, xs, mask=mask, reverse=reverse, starts=starts, **newton
        ),
        {"params": params, "carry": carry, "xs": xs, **ways},
    )
    found["summary"] = rnn.summary, {"carry": carry}
    found["last"] = rnn.last, {"ys": xs, "mask": mask}
    labels, floats = jnp.zeros(T, int), jnp.ones((T, V))
    for loss in (rnn.cross_entropy, rnn.accuracy):
        arguments = {"logits": floats, "labels": labels, "mask": mask}
        arguments |= {"ignore_label": -100, "weighted": False}
        found[loss.__name__] = loss, arguments
    for loss, what in (
        (rnn.sigmoid_cross_entropy, "logits"),
        (rnn.squared_error, "predictions"),
    ):
        found[loss.__name__] = loss, {what: floats, "targets": floats, "mask": mask}
    penalized = {"hs": floats, "mask": mask, "weighted": False}
    found["activation_penalty"] = rnn.activation_penalty, penalized
    found["temporal_activation_penalty"] = (
        rnn.temporal_activation_penalty,
        {**penalized, "starts": mask},
    )
    found["attention_pool"] = (
        rnn.attention_pool,
        {"query": jnp.zeros(D), "ys": xs, "mask": mask},
    )

    found["greedy"] = rnn.greedy, {"logits": jnp.ones(V), "key": None}
    found["sample"] = (
        lambda temperature, top_k, top_p, logits, key: rnn.sample(
            temperature, top_k=top_k, top_p=top_p
        )(logits, key),
        {
            **{"temperature": 0.8, "top_k": 3, "top_p": 0.9},
            **{"logits": jnp.ones(V), "key": key},
        },
    )
    params = model.init(key)
    reading = {
        **{"cell": model, "params": params, "carry": model.initial_carry(params)},
        **{"first": 3, "length": 4},
    }
    found["prefill"] = (
        rnn.prefill,
        {
            **{"cell": model, "params": params, "carry": reading["carry"]},
            **{"prompt": jnp.array([3, 1, 4]), "mask": jnp.ones(3, bool)},
        },
    )
    drawing = {**reading, "choose": rnn.greedy, "key": key, "stop_token": 0}
    found["generate"] = rnn.generate, {**drawing, "stopped": False}
    found["stream"] = (
        lambda **kwargs: list(itertools.islice(rnn.stream(**kwargs), 9)),
        drawing,
    )
    found["beam_search"] = (
        rnn.beam_search,
        {**reading, "beam_size": 2, "stop_token": 0, "length_penalty": 1.0},
    )

    def loss_fn(params, xs, key):
        return ((xs - params) ** 2).mean()

    found["train_state"] = (
        rnn.train_state,
        {"params": jnp.zeros(D), "optimizer": sgd, "key": key, "carry": ()},
    )
    state = rnn.train_state(jnp.zeros(D), sgd, key)
    found["make_update"] = (
        rnn.make_update,
        dict(
            **{"loss_fn": loss_fn, "optimizer": sgd, "has_aux": False},
            **{"has_carry": False, "microbatches": 1, "mesh": None},
        ),
    )
    update = rnn.make_update(loss_fn, sgd)
    found["update"] = (
        lambda state, batch: update(state, batch),
        {"state": state, "batch": xs},
    )
    found["make_epoch"] = rnn.make_epoch, {"update": update}
    epoch = rnn.make_epoch(update)
    order = jnp.zeros((2, 5), int)
    found["epoch"] = epoch, {"state": state, "data": (xs,), "order": order}
    found["shuffled"] = rnn.shuffled, {"key": key, "num_examples": 23, "batch_size": 5}

    params = gru.init(key)
    for framework, argument in (
        ("torch", "state"),
        ("flax", "params"),
        ("haiku", "params"),
        ("keras", "weights"),
        ("equinox", "cell"),
        ("mlx", "params"),
        ("paddle", "state"),
        ("sonnet", "variables"),
    ):
        to, load = (getattr(interop, f"{way}_{framework}") for way in ("to", "load"))
        there = params
        if framework in ("haiku", "sonnet"):
            there = rnn.gru(D, H, reset_after=False).init(key)
        found[f"to_{framework}"] = to, {"kind": "gru", "params": there}
        weights = to("gru", there)
        options: dict[str, Any] = {}
        if framework == "keras":
            options = {"recurrent_activation": "sigmoid", "nonlinearity": "tanh"}
            options |= {"reset_after": True, "version": 3}
        if framework in ("torch", "paddle"):
            options = {"num_layers": 1, "bidirectional": False, "nonlinearity": "tanh"}
        found[f"load_{framework}"] = load, {"kind": "gru", argument: weights, **options}
        name = next(iter(weights)) if isinstance(weights, dict) else 0

        said = {k: v for k, v in options.items() if k == "recurrent_activation"}

        def within(entry, kind, load=load, weights=weights, name=name, said=said):
            changed = copy.copy(weights)
            changed[name] = entry
            return load(kind, changed, **said)

        found[f"load_{framework}: entry"] = (
            within,
            {"entry": weights[name], "kind": "gru"},
        )
    found["to_onnx"] = (
        interop.to_onnx,
        {
            **{"cell": gru, "params": params, "batch": None, "time": None},
            **{"lengths": True, "stream": False, "initial_carry": False},
            **{"x": None, "opset": 17},
        },
    )
    found["load_onnx"] = interop.load_onnx, {"model": interop.to_onnx(gru, params)}
    matrices = [jnp.ones((H, D))] * 3 + [jnp.ones((H, H))] * 3
    layers = {"num_layers": 1, "bidirectional": False, "nonlinearity": "tanh"}
    found["to_cudnn"] = interop.to_cudnn, {"kind": "gru", "params": params}
    found["to_chainer"] = (
        interop.to_chainer,
        {"kind": "gru", "params": params, "n_step": True, "prefix": ""},
    )
    found["to_tensorflow"] = (
        interop.to_tensorflow,
        {
            **{"op": "BlockLSTM", "forget_bias": 1.0, "prefix": ""},
            "params": rnn.lstm(D, H).init(key),
        },
    )
    found["load_cudnn"] = (
        interop.load_cudnn,
        {"kind": "gru", "weights": matrices, "biases": [jnp.ones(H)] * 6, **layers},
    )
    arrays = {f"0/w{i}": a for i, a in enumerate(matrices)}
    arrays |= {f"0/b{i}": jnp.ones(H) for i in range(6)}
    found["load_chainer"] = (
        interop.load_chainer,
        {"kind": "gru", "state": arrays, "prefix": "", **layers},
    )
    found["load_tensorflow"] = (
        interop.load_tensorflow,
        {
            **{"op": "BlockLSTM", "forget_bias": 1.0, "cell_clip": 3.0, "prefix": ""},
            **{"variables": {"w": jnp.ones((D + H, 4 * H)), "b": jnp.ones(4 * H)}},
        },
    )
    path = folder / "params.safetensors"

    def save(params):
        return interop.save_safetensors(params, path)

    interop.save_safetensors(params, path)
    there = path.read_bytes()

    def load(path, like):
        Path(folder, "params.safetensors").write_bytes(there)
        try:
            return interop.load_safetensors(path, like)
        except OSError:  # a path is free to lead nowhere
            return None

    gates = {"i2h.weight": jnp.ones((H, D + 2 * H)), "i2h.bias": jnp.ones(H)}
    found["load_published"] = (
        interop.load_published,
        {"kind": "cornn", "arrays": gates, "dt": 0.1, "gamma": 1.0, "epsilon": 1.0},
    )
    found["save_safetensors"] = save, {"params": params}
    found["load_safetensors"] = load, {"path": path, "like": params}
    return found


SIZES = {"length", "num_examples", "batch_size", "beam_size", "microbatches", "gates"}
SIZES |= {"heads", "kernel_size", "width"}


def arguments(folder: Path) -> Target:
    """Bytes choose a call, what to replace, and by what."""
    import jax

    jax.config.update("jax_traceback_filtering", "off")
    table, pool = calls(folder), list(values().values())
    names = list(table)

    def run(data: bytes) -> str:
        def choose(options):
            return options[next(bytes_left, 0) % len(options)]

        # Two bytes, since there are more calls than one can tell.
        name = names[int.from_bytes(data[:2], "big") % len(names)]
        bytes_left = iter(data[2:])
        function, valid = table[name]
        changed = dict(valid)
        for _ in range(1 + choose([0, 0, 1, 2])):
            argument, value = choose(list(valid)), choose(pool)()
            big = isinstance(value, int | float) and abs(value) >= HUGE
            if not (big and argument in SIZES):
                changed[argument] = value
        try:
            with warnings.catch_warnings(action="ignore"):
                if ": " in name and name.split(": ")[1] in (
                    "init",
                    "step",
                    "initial_carry",
                ):
                    result = function(*changed.values())
                else:
                    result = function(**changed)
                jax.block_until_ready(jax.tree.leaves(result))
        except Exception as error:
            try:
                on_purpose(error)
            except NotAllowed as found:
                raise NotAllowed(f"{name}: {found}") from error
            return "ValueError"
        return "a result"

    rng = random.Random(0)
    seeds = [i.to_bytes(2, "big") + rng.randbytes(11) for i in range(len(names))]
    return Target(seeds, run, 2048, 60)


TARGETS: dict[str, Callable[[Path], Target]] = {
    "idx": idx,
    "text": text,
    "nsmc": nsmc,
    "sst2": sst2,
    "multi30k": multi30k,
    "tatoeba": tatoeba,
    "series": series,
    "matlab": matlab,
    "captions": captions,
    "safetensors": safetensors,
    "config": config,
    "checkpoint": checkpoint,
    "arguments": arguments,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--target", choices=TARGETS, help="one of them; else all")
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--inputs", type=int, help="for each target, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="without atheris")
    parser.add_argument("--verbose", action="store_true", help="with tracebacks")
    args = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    with contextlib.suppress(ImportError):
        import atheris  # noqa: F401 - only to know

    guided = "atheris" in sys.modules and not args.plain
    budget = {"seed": args.seed, "inputs": args.inputs, "seconds": args.seconds}
    status = 0
    for name in [args.target] if args.target else TARGETS:
        how = "guided by atheris" if guided else f"drawn from seed {args.seed}"

        def finish(tally: Tally, name=name, how=how) -> int:
            print(tally.report(f"{name} ({how})"), flush=True)
            for outcome, text in tally.details.items():
                if args.verbose:
                    print(f"\n--- {outcome}\n{text}")
            return int(bool(tally.bad))

        with tempfile.TemporaryDirectory() as folder:
            if not guided:
                tally = try_plain(TARGETS[name](Path(folder)), **budget)
                status = max(status, finish(tally))
                continue
            # libFuzzer ends its process, so that each target has one.
            child = os.fork()
            if child == 0:
                try_guided(TARGETS[name], Path(folder), finish, **budget)
                os._exit(3)
            status = max(status, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    sys.exit(status)


if __name__ == "__main__":
    main()
