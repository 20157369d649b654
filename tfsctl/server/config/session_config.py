"""The TensorFlow session configuration from the flags: threads, GPU memory, and a ConfigProto file for the rest."""

from __future__ import annotations

from tfsctl.core import protos
from tfsctl.server.config.config_files import read_config_file
from tfsctl.server.config.flags import Flags
from tfsctl.server.process.resources import cpu_count
from tfsctl.server.status import invalid_argument

_POOLS = ("runs", "runs-after-crash")  # as TensorFlow knows them in the process
_SPARE_THREADS = 8


def check_session_flags(flags: Flags) -> None:
    """Raise INVALID_ARGUMENT or NOT_FOUND, like the real server at its start, for flags that cannot be used together."""
    if all((flags.tensorflow_session_parallelism, *_explicit_threads(flags))):
        raise invalid_argument(
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
            "separately. You cannot configure all."
        )
    for name in ("tensorflow_session_parallelism", "tensorflow_intra_op_parallelism"):
        if (threads := getattr(flags, name)) < 0:  # TensorFlow aborts
            raise invalid_argument(f"--{name} must not be negative; was {threads}")
    if flags.tensorflow_session_config_file:
        read_config_file(flags.tensorflow_session_config_file, protos.ConfigProto())


def session_config(flags: Flags) -> bytes:
    """A serialized ConfigProto. Flags override the --tensorflow_session_config_file.

    Raises INVALID_ARGUMENT or NOT_FOUND for a file that cannot be read.
    """
    config = protos.ConfigProto()
    if flags.tensorflow_session_config_file:
        read_config_file(flags.tensorflow_session_config_file, config)
    if flags.per_process_gpu_memory_fraction:
        config.gpu_options.per_process_gpu_memory_fraction = flags.per_process_gpu_memory_fraction
    intra, inter = _explicit_threads(flags)
    both = flags.tensorflow_session_parallelism
    config.intra_op_parallelism_threads = intra or both or config.intra_op_parallelism_threads or _default_intra()
    config.inter_op_parallelism_threads = inter or both or config.inter_op_parallelism_threads
    if not config.inter_op_parallelism_threads and not config.session_inter_op_thread_pool:
        for name, threads in zip(_POOLS, _default_inter(), strict=True):
            config.session_inter_op_thread_pool.add(global_name=name, num_threads=threads)
    serialized: bytes = config.SerializeToString()
    return serialized


def _explicit_threads(flags: Flags) -> tuple[int, int]:
    return flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism


def _default_intra() -> int:
    """The default number of threads within one operation: half of the CPUs.

    Small models run several times faster without handing work between threads, and concurrent requests use the other
    CPUs.
    """
    return max(1, cpu_count() // 2)


def _default_inter() -> tuple[int, int]:
    """The default numbers of threads between operations, in the pool of all runs and in that for runs after a crash.

    TensorFlow cannot start another thread in the place of one that is lost (`runtime/crash_handler.py`), so there have to
    be more threads than CPUs after a crash. But each thread that has no work is woken for the next ready operation: with
    32 images at a time on 2 CPUs, a run of MobileNetV2 had 12 context switches with 2 threads and 45 with 3, which took 6 %
    more CPU. There are at least two, because the only thread of a pool would keep other runs waiting during a slow one.
    """
    return max(2, cpu_count()), cpu_count() + _SPARE_THREADS
