"""One job in the trainer process: taken from the pipe, done, and reported to its end."""

from __future__ import annotations

import errno
import resource
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.errors import CheckpointError, DivergedError, LocatedError, ShapeError
from worker.trainer import faults
from worker.trainer.prediction import BadRowError, Prediction
from worker.trainer.training import GradientCheckError, NonReproducibleError, Training

if TYPE_CHECKING:
    from worker.trainer.channel import Channel

__all__ = ["serve"]

JOBS: dict[str, type[Training | Prediction]] = {"train": Training, "predict": Prediction}

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a disk, a quota, a limit on a file's size


def serve(channel: Channel) -> None:
    """Say ``ready``, take one job, and report it to its end."""
    channel.send("ready")
    frame = channel.first()
    faults.arm(frame.header.get("fault"))
    try:
        _limit_memory(frame.header["memory_bytes"])
        job = JOBS[frame.kind](channel, frame)
        del frame  # a checkpoint in it would stay beside the run's own vectors
        job.run()
    except DivergedError as error:
        _fail(channel, "diverged", error.detail, epoch=error.epoch, step=error.step)
    except MemoryError:
        _fail_for_memory(channel)
    except CheckpointError as error:
        _fail(channel, "data_corrupt", str(error))
    except NonReproducibleError as error:
        _fail(channel, "non_reproducible", str(error))
    except GradientCheckError as error:
        _fail(channel, "gradient_check_failed", str(error), layer=error.layer)
    except BadRowError as error:
        _fail(channel, "data_invalid", str(error), row=error.row)
    except (LocatedError, ShapeError) as error:
        _fail(channel, "data_invalid", str(error))
    except BaseException as error:  # whatever it is, the job's owner is to know
        if type(error).__name__ == "PanicException":  # Rust where Python raises MemoryError
            _fail_for_memory(channel)
            return
        if isinstance(error, OSError) and error.errno in FULL:
            channel.send("full")
            return
        traceback.print_exc()
        _fail(channel, "internal", f"{type(error).__name__}: {error}")


def _limit_memory(allowed_bytes: int) -> None:
    """Let the process grow by so much and no more; memory-mapped files do not count."""
    fields = Path("/proc/self/status").read_text("ascii").split()
    used = int(fields[fields.index("VmData:") + 1]) * 1024
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + allowed_bytes, hard))


def _fail_for_memory(channel: Channel) -> None:
    """Report it with the limit lifted: where nothing can be allocated, nothing can be said."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    _fail(channel, "out_of_memory", "the job needs more memory than it was given")


def _fail(channel: Channel, code: str, detail: str, **place: Any) -> None:
    channel.send("failed", error={"code": code, "detail": detail, **place})
