"""What bench/run.py measures: one entry a workload and phase.

name, phase  as bench/bench.c knows them
batch        0: the workload's own
examples     of a repetition, for "a second"
unit         what is counted in a second
flop         of a repetition, float32: two for each multiplication and addition (three times the forward
             pass for training); the limit is then the rate of the matrix product
bytes        read and written at least; the limit is then the rate of `stream`
bf16         is measured in bf16, too
peers        program, and the settings that it is given in turn to find its fastest; where a list is
             marked compiled, these are a peer of their own
other        a further peer: (module that its python must have, program, settings)
memory       the peak of both sides is compared
large        no more than two sides at a time: the memory of all would not do
"""
from dataclasses import dataclass, field

LAYOUTS = [[], ["--channels-last"]]
COMPILED_LAYOUTS = [["--compiled"], ["--compiled", "--channels-last"]]
FOREACH = [[], ["--foreach"]]
GRAPHS = ("faiss", "hnswlib", "usearch")


@dataclass
class Workload:
    name: str
    phase: str
    batch: int = 0
    examples: int = 1
    unit: str = "examples/s"
    flop: float = 0
    bytes: float = 0
    bf16: bool = False
    program: str = ""
    settings: list = field(default_factory=lambda: [[]])
    compiled: list = field(default_factory=list)
    memory: bool = False
    files: bool = False  # made by bench/peer/make_files.py
    large: bool = False  # sides that fit into memory two at a time only
    other: tuple = ()
    python: str = "torch"  # which pythons run the peer: those with PyTorch, or the system's

    @property
    def title(self):
        return self.phase + ("-%d" % self.batch if self.batch else "")


def network(name, forward, train_batch, infer, train=True, settings=LAYOUTS, unit="images/s",
            compiled=COMPILED_LAYOUTS):
    """A training step, and answers for the batches of `infer`; forward: operations of one example."""
    program = "torch_networks.py"
    rows = []
    if train:
        foreach = settings if settings is LAYOUTS else FOREACH
        rows.append(Workload(name, "train", 0, train_batch, unit, 3 * forward * train_batch, 0, True,
                             program, foreach, compiled[:1], True))
    for batch in infer:
        rows.append(Workload(name, "infer", batch, batch, unit, forward * batch, 0, batch > 1, program,
                             settings, compiled))
    return rows


GROWING = [["--growing"] + more for more in ([], ["--compiled"], ["--compiled", "--packed"])]
TOKEN = 2 * 12 * 6 * 384 * 384  # operations of a token in the decoder's layers, without attention



def attention(length):
    """Two products forward and five backward, of scores and heads of 64; half of them where causal."""
    flop = 7 * 2 * 16384 * length * 384
    return [Workload("attention-%d" % length, phase, 0, 16384, "tokens/s", flop / (2 if phase == "causal" else 1),
                     0, False, "torch_attention.py") for phase in ("full", "causal")]


def bandwidth(name, forward, train):
    """forward, train: how often each value is read or written at least."""
    return [Workload(name, phase, 0, 100 << 20, "values/s", 0, 4 * passes * (100 << 20), False,
                     "torch_bandwidth.py") for phase, passes in (("forward", forward), ("train", train))]


def large_kernel(k):
    """The depthwise convolution's operations with its borders left out, and the two products'."""
    inside = sum(min(55, i + k // 2) - max(0, i - k // 2) + 1 for i in range(56))
    image = 2 * 128 * inside ** 2 + 2 * 2 * 56 * 56 * 128 * 512
    name, program = "large-kernel-%d" % k, "torch_large_kernel.py"
    return [Workload(name, "train", 0, 8, "images/s", 3 * 8 * image, 0, False, program, LAYOUTS),
            *(Workload(name, "infer", n, n, "images/s", n * image, 0, False, program, LAYOUTS)
              for n in (1, 64))]


WORKLOADS = [
    Workload("gemm", "run", 0, 1, "products/s", 2 * 2048 ** 3, 0, True, "torch_networks.py"),
    *network("resnet8", 18.3e6, 128, (1, 64)),
    *network("resnet18", 1.11e9, 64, (1, 64)),
    *network("resnet18-224", 3.63e9, 16, (1,), train=False),
    *network("resnet50", 8.18e9, 8, (1, 64)),
    *network("mobilenet", 24e6, 64, (1, 64)),
    *network("vit-tiny", 0.73e9, 64, (1, 64), settings=[[]], compiled=[["--compiled"]]),
    *network("vit-small", 9.2e9, 16, (1, 64), train=False, settings=[[]], compiled=[["--compiled"]]),
    # The weights of adapted layers get no gradient, and nothing flows below the first of them.
    Workload("vit-small-lora", "train", 0, 16, "images/s", 2 * 9.2e9 * 16, 0, True, "torch_networks.py",
             FOREACH, [["--compiled"]], True),
    *network("gpt-256", 256 * (TOKEN + 2 * 256 * 384 + 6 * 2 * 256 * 384), 8, (), settings=[[]],
             unit="texts/s", compiled=[["--compiled"]]),
    *network("gpt-1024", 1024 * (TOKEN + 2 * 256 * 384 + 6 * 2 * 1024 * 384), 2, (), settings=[[]],
             unit="texts/s", compiled=[["--compiled"]]),
    Workload("gpt", "generate", 0, 200, "tokens/s", 200 * TOKEN, 0, False, "torch_generation.py",
             [[], *GROWING, ["--compiled"], ["--compiled", "--packed"]], memory=True,
             other=("llama_cpp", "llama_generation.py", [[], ["--flash"], ["--half"], ["--flash", "--half"]])),
    Workload("deepfm", "train", 0, 2048, "rows/s", 2048 * 6 * (39 * 16 * 400 + 2 * 400 * 400), 0, False,
             "torch_clicks.py", [[], ["--one-table"], ["--foreach"], ["--one-table", "--foreach"]], [], True),
    Workload("dlrm-adam", "train", 0, 2048, "rows/s",
             2048 * 6 * (13 * 512 + 512 * 256 + 256 * 64 + 64 * 16 + 367 * 512 + 512 * 256 + 27 * 27 * 16),
             0, False, "torch_clicks.py", FOREACH, [], True, large=True),
    Workload("dlrm-adagrad", "train", 0, 2048, "rows/s",
             2048 * 6 * (13 * 512 + 512 * 256 + 256 * 64 + 64 * 16 + 367 * 512 + 512 * 256 + 27 * 27 * 16),
             0, False, "torch_clicks.py", FOREACH, [], True, large=True),
    Workload("deepfm", "infer", 0, 2048, "rows/s", 2048 * 2 * (39 * 16 * 400 + 2 * 400 * 400), 0, False,
             "torch_clicks.py", [[], ["--one-table"]]),
    Workload("deepfm", "infer", 1, 1, "rows/s", 0, 0, False, "torch_clicks.py", [[], ["--one-table"]]),
    *(w for length in (512, 1024, 2048, 4096, 8192, 16384) for w in attention(length)),
    *(w for k in (13, 31) for w in large_kernel(k)),
    *bandwidth("layer-norm", 2, 5),
    *bandwidth("cross-entropy-1000", 1, 3),
    *bandwidth("cross-entropy-50257", 1, 3),
    *bandwidth("gelu", 2, 5),
    *bandwidth("gelu-tanh", 2, 5),
    Workload("adamw", "step", 0, 10 ** 8, "parameters/s", 0, 28e8, False, "torch_bandwidth.py",
             [[], ["--foreach"], ["--fused"]]),
    *[Workload("neighbours", phase, 0, 1000, "queries/s", 2 * 1000 * 1e5 * 128, 0, False, program,
               python="system") for phase in ("l2", "inner") for program in
      ("faiss_neighbours.py", "sklearn_neighbours.py")[:2 if phase == "l2" else 1]],
    *[Workload("approximate", phase, 0, examples, unit, 0, 0, False, "approximate.py", [["--" + peer]], python="system",
               memory=phase.endswith("-build"))
      for phase, examples, unit, peers in
      (("hnsw", 1000, "queries/s", GRAPHS), ("hnsw-one", 100, "queries/s", GRAPHS),
       ("hnsw-build", 50000, "rows/s", GRAPHS), ("ivfpq", 1000, "queries/s", GRAPHS[:1]),
       ("ivfpq-one", 100, "queries/s", GRAPHS[:1]), ("ivfpq-build", 50000, "rows/s", GRAPHS[:1]),
       ("pq-train", 16384, "rows/s", GRAPHS[:1])) for peer in peers],
    *[Workload("pictures", phase, 0, examples, "pictures/s", 0, 0, False, "pillow_pictures.py", settings,
               python="system", files=True) for phase, examples, settings in
      (("png", 64, [[]]), ("jpeg", 64, [[], ["--draft"]]), ("jpeg-large", 16, [[], ["--draft"]]),
       ("idx", 512, [[]]))],
    Workload("table", "csv", 0, 1000000, "rows/s", 0, 0, False, "pandas_table.py",
             [[], ["--category"]], python="system", files=True),
]
