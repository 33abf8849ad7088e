"""Execute one notebook with papermill, in a kernel that is shut down cleanly."""

import asyncio
import os
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import papermill
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import KernelProvisionerBase
from jupyter_core.utils import run_sync
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from tblib.report.declared import NOTEBOOKS
from tblib.report.notebook import BY_WORKFLOW, SHOWN_ANEW
from tblib.report.parameters import Parameters
from tblib.run import Run, Step, StepError
from tblib.system.processes import scratch
from tblib.system.shortages import shortage, shortage_in

WANT = "perhaps for want of memory or open files (ulimit -n). The same command goes on from here."
END = 5  # seconds for a notebook's kernel to exit cleanly
BEGIN = "__import__('tblib.system.processes').system.processes"  # one line that leaves no name behind
RUNNING = ".running.ipynb"  # suffix of a notebook that is being executed


def execute(run: Run, step: Step, settings: Parameters, shown_anew: bool = False) -> None:
    """Execute one notebook with papermill; the executed copy is kept in the run's ``notebooks/``, even after a failure.

    With `shown_anew` the numbers already exist, and nothing is trained again.

    Raises:
        StepError: a cell failed; the message shows the cell and the error.
    """
    folder = run.path("notebooks")
    folder.mkdir(exist_ok=True)
    target = folder / step.notebook
    running, failed = target.with_suffix(RUNNING), target.with_suffix(".failed.ipynb")
    failed.unlink(missing_ok=True)
    print(f"{step.name}: notebooks/{step.notebook}", flush=True)
    try:
        with _working_on(run, shown_anew), _kernel(step) as kernel:
            papermill.execute_notebook(
                str(NOTEBOOKS / step.notebook),
                str(running),
                settings,
                kernel_name="python3",
                km=kernel,
                stderr_file=sys.stderr,  # progress bars of the cells
                extra_arguments=[
                    "--log-level=ERROR",  # each kernel warns about TCP, though it only talks to this process
                    f"--IPKernelApp.exec_lines={BEGIN}.begin_kernel({os.getpid()})",
                ],
            )
        os.replace(running, target)
    except PapermillExecutionError as error:
        os.replace(running, failed)
        raise StepError(_stopped(step, error, failed)) from error
    except DeadKernelError as error:
        raise StepError(f"The process of step {step.name} died, {WANT}") from error
    except RuntimeError as error:  # from nbclient: the kernel died before it answered, or did not answer in time
        if not str(error).startswith("Kernel "):
            raise
        raise StepError(f"The process of step {step.name} could not be started ({error}), {WANT}") from error
    except OSError as error:
        told = shortage(error, running)
        raise StepError(f"Step {step.name} stopped. {told}") if told else error from error
    finally:
        running.unlink(missing_ok=True)


def _stopped(step: Step, error: PapermillExecutionError, failed: Path) -> str:
    """Message for a failed cell; for a resource shortage without its code, which is not the cause."""
    if error.ename == "CellExecutionError" and not error.evalue:  # papermill's, if the kernel could not report it
        return f"The process of step {step.name} could not say what stopped it, {WANT}"
    told = error.evalue if error.ename == "ShortageError" else shortage_in(f"{error.ename}: {error.evalue}")
    if told:
        return f"Step {step.name} stopped. {told}"
    return (
        f"Step {step.name} stopped in this cell of {step.notebook}:\n\n{textwrap.indent(error.source, '    ')}\n\n"
        f"{error.ename}: {error.evalue}\n\nThe notebook as far as it came: {failed}\n"
        "When the cause is mended, the same command continues from here."
    )


@contextmanager
def _working_on(run: Run, shown_anew: bool) -> Iterator[None]:
    """Tell notebooks started inside the block that this workflow runs them (`begin`)."""
    told = {BY_WORKFLOW: str(run.folder)} | ({SHOWN_ANEW: "1"} if shown_anew else {})
    os.environ |= told
    try:
        yield
    finally:
        for name in told:
            del os.environ[name]


@contextmanager
def _kernel(step: Step) -> Iterator[AsyncKernelManager]:
    """Kernel manager for one notebook, started inside the block; it exits cleanly, or immediately after Ctrl-C."""
    file = str(scratch() / f"{step.name}.json")  # the default is the shared folder of temporary files
    manager, at_once = AsyncKernelManager(kernel_name="python3", connection_file=file), False
    try:
        yield manager
    except KeyboardInterrupt:
        at_once = True  # it may be busy for a long time
        raise
    finally:
        if manager.has_kernel and manager.provisioner:
            if not at_once:
                run_sync(_end_in_order)(manager.provisioner)
            run_sync(manager.shutdown_kernel)(now=True)


async def _end_in_order(kernel: KernelProvisionerBase) -> None:
    """Send SIGTERM: a kernel asked to shut down waits for its workers' memory tracker, which ignores signals."""
    await kernel.terminate()
    with suppress(TimeoutError):
        await asyncio.wait_for(kernel.wait(), END)
