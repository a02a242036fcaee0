"""A real Slurm on this machine, in a folder of its own: munged, slurmctld and one slurmd for each node."""

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
SlurmctldPort={port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/ctld
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0
MailProg=/bin/true
JobRequeue=1
ReturnToService=2
KillWait=5
UnkillableStepTimeout=600
SlurmdTimeout=10
SlurmdParameters=config_overrides
InactiveLimit=0
MaxArraySize=100
{nodes}
PartitionName=main Nodes={names} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""
"""A credential that expires in 5 s lets a job that is queued again start soon; with proctrack/linuxproc, killing the
batch shell would leave what it started alive. A busy machine may need long to end a process: a node with one that does
not end within ``UnkillableStepTimeout`` gets no further jobs."""

CPUS = 16
"""Of each node, whatever this machine has: most of the time jobs wait."""

RUNNING = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED")


class Cluster:
    """A Slurm of its own; its commands find it through ``environment``.

    Args:
        folder: where all its files are.
        nodes: their names.
    """

    def __init__(self, folder: Path, nodes: tuple[str, ...] = ("node1",)) -> None:
        self.folder = folder
        self.nodes = nodes
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
        self.environment |= {"SLURM_CONF": str(folder / "slurm.conf"), "MASTER_ADDR": "127.0.0.1"}

    def start(self) -> None:
        host = socket.gethostname().split(".")[0]
        ports = free_ports(1 + len(self.nodes))
        nodes = [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} State=UNKNOWN"
            for name, port in zip(self.nodes, ports[1:], strict=True)
        ]
        munge = self.folder / "munge"
        for folder in (munge, self.folder / "ctld", *(self.folder / name for name in self.nodes)):
            folder.mkdir()
        munge.chmod(0o711)
        key = munge / "key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        (self.folder / "slurm.conf").write_text(
            CONFIG.format(
                host=host,
                user=os.environ.get("USER", "root"),
                folder=self.folder,
                port=ports[0],
                nodes="\n".join(nodes),
                names=",".join(self.nodes),
            )
        )
        places = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self.run(
            "munged", *(f"--{option}={munge / name}" for option, name in places.items()), "--num-threads=1", "--force"
        )
        self.run("slurmctld", "-c", "-f", self.environment["SLURM_CONF"])
        for node in self.nodes:
            self.start_node(node)
        wait_for(lambda: self.run("sinfo", "-h", "-o", "%T").split() == ["idle"], 60)

    def start_node(self, node: str) -> None:
        self.run("slurmd", "-N", node, "-f", self.environment["SLURM_CONF"])

    def stop(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.run("scancel", "--user", "root", "--signal=KILL", "--full")
            self.run("scancel", "--user", "root")
        for path in [*(self.folder / f"{node}.pid" for node in self.nodes), self.folder / "slurmctld.pid"]:
            end(path, signal.SIGTERM)
        end(self.folder / "munge" / "pid", signal.SIGTERM)

    def kill_slurmd(self, node: str) -> None:
        """End a node's slurmd at once; what it has started lives on."""
        end(self.folder / f"{node}.pid", signal.SIGKILL)

    def kill_node(self, node: str) -> None:
        """End a node's slurmd at once, and whatever it has started: the node is gone."""
        self.kill_slurmd(node)
        tasks = [process for process in Path("/proc").glob("[0-9]*") if self._is_task(process, node)]
        steps = {parent for task in tasks if (parent := parent_of(task)) is not None and parent not in tasks}
        # All are stopped before any is killed: a step that outlived its tasks would report their end. The youngest are
        # killed first: stopped children without a parent get SIGHUP and SIGCONT, and srun would then ask for the end of
        # its step, which the job has again once it is queued again.
        doomed = sorted((int(process.name) for process in {*steps, *tasks}), key=started_at, reverse=True)
        for signum in (signal.SIGSTOP, signal.SIGKILL):
            for pid in doomed:
                with contextlib.suppress(OSError):
                    os.kill(pid, signum)

    def _is_task(self, process: Path, node: str) -> bool:
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            return False
        wanted = (f"SLURM_CONF={self.environment['SLURM_CONF']}", f"SLURMD_NODENAME={node}")
        return all(variable.encode() in variables for variable in wanted)

    def run(self, *words: str) -> str:
        """Run a command; its output."""
        command = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=True)
        return command.stdout

    def submit(self, *words: str) -> str:
        """sbatch; the job's id."""
        return self.run("sbatch", "--parsable", *words).strip()

    def job(self, job: str) -> dict[str, str]:
        """What Slurm knows of a job, or of a task of an array (``<id>_<task>``)."""
        return dict(re.findall(r"(\w+)=(\S*)", self.run("scontrol", "-o", "show", "job", job)))

    def wait_for_end(self, job: str, seconds: float = 600) -> dict[str, str]:
        """Wait until a job has ended, and not just been ended to be queued again; what Slurm knows of it then."""
        polls_ended = 0

        def has_ended() -> bool:
            nonlocal polls_ended
            polls_ended = 0 if self.job(job)["JobState"] in RUNNING else polls_ended + 1
            return polls_ended == 10

        try:
            wait_for(has_ended, seconds)
        except TimeoutError as error:
            known = self.job(job)
            error.add_note(f"job {job}: {known['JobState']}, {known['Reason']}; {self.run('sinfo', '-h', '-R', '-N')}")
            error.add_note(self.run("sinfo", "-h", "-N", "-o", "%N %T"))
            raise
        return self.job(job)


@contextlib.contextmanager
def cluster(folder: Path, nodes: tuple[str, ...] = ("node1",)) -> Iterator[Cluster]:
    """A cluster that runs as long as the context."""
    one = Cluster(folder, nodes)
    try:
        one.start()
        yield one
    finally:
        one.stop()


def wait_for(is_so: Callable[[], bool], seconds: float) -> None:
    """Wait until it is so.

    Raises:
        TimeoutError: it is not, after so many seconds.
    """
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError(f"not so after {seconds} s")
        time.sleep(0.1)


def end(pid_file: Path, signum: int) -> None:
    """End the process whose pid is in a file, and wait for it."""
    try:
        pid = int(pid_file.read_text())
        os.kill(pid, signum)
    except (OSError, ValueError):
        return
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: not is_alive(pid), 10)


def parent_of(process: Path) -> Path | None:
    """The folder in /proc of the process that has started another."""
    fields = stat_of(int(process.name))
    return process.with_name(fields[1]) if fields else None


def started_at(pid: int) -> tuple[int, int]:
    """When a process has started, as a key to sort by; a later one of the same clock tick has a higher pid."""
    fields = stat_of(pid)
    return int(fields[19]) if fields else 0, pid


def stat_of(pid: int) -> list[str] | None:
    """The fields of a process's /proc/<pid>/stat from its state on; None if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None


def is_alive(pid: int) -> bool:
    fields = stat_of(pid)
    return fields is not None and fields[0] != "Z"


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
