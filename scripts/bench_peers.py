"""Other filesystems that `scripts/bench` measures beside the mount: fuser's `hello` and libfuse's `passthrough_ll`."""

import os
import resource
import shutil
import subprocess
import time
from pathlib import Path

# Where distributions put libfuse's examples: Debian and Ubuntu with libfuse3-dev; others with its documentation.
EXAMPLES = ["/usr/share/doc/libfuse3-dev/examples", "/usr/share/doc/fuse3/examples", "/usr/share/doc/fuse3-devel/examples"]
# passthrough_ll keeps a file descriptor for every file it has seen, and some for itself.
SPARE_DESCRIPTORS = 1_000
# Who has it may open more files than the limit (capabilities(7)).
CAP_SYS_RESOURCE = 24


def unmount(directory):
    subprocess.run(["fusermount3", "-u", str(directory)], check=True, capture_output=True)


def pin_to(cpu, descriptors=None):
    """What a child does before it becomes another program."""

    def prepare():
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
        if descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    return prepare


def hello_seconds(program, directory):
    """From the start of `hello_mount` until `ls` has listed its file."""
    directory.mkdir(exist_ok=True)
    start = time.perf_counter()
    server = subprocess.Popen([program, str(directory)], stdout=subprocess.PIPE, text=True)
    try:
        if server.stdout.readline().strip() != "mounted":
            raise SystemExit(f"{program} did not mount on {directory}")
        listed = subprocess.run(["ls", str(directory)], check=True, capture_output=True, text=True).stdout
        seconds = time.perf_counter() - start
    finally:
        unmount(directory)
        server.wait()
    if listed.strip() != "hello.txt":
        raise SystemExit(f"{program} shows {listed!r}")
    return seconds


def build_passthrough(directory):
    """Compiles libfuse's `passthrough_ll`; the program, or why there is none."""
    source = next((path for path in map(Path, EXAMPLES) if (path / "passthrough_ll.c").exists()), None)
    if source is None:
        return None, "its source is not here (Debian: apt install libfuse3-dev)"
    if not (shutil.which("gcc") and shutil.which("pkg-config")):
        return None, "gcc and pkg-config are needed to build it"
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], capture_output=True, text=True)
    program = Path(directory, "passthrough_ll")
    command = ["gcc", "-O2", "-o", str(program), str(source / "passthrough_ll.c"), *flags.stdout.split()]
    built = subprocess.run(command, capture_output=True, text=True)
    if flags.returncode != 0 or built.returncode != 0:
        return None, f"it does not compile: {(flags.stderr + built.stderr).strip().splitlines()[0]}"
    return str(program), None


def descriptors_for(files):
    """The limit of open files that `passthrough_ll` needs; None when this user may not have so many."""
    wanted = files + SPARE_DESCRIPTORS
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    capabilities = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    if int(capabilities.split()[1], 16) >> CAP_SYS_RESOURCE & 1:
        most = int(Path("/proc/sys/fs/nr_open").read_text())
    return wanted if most == resource.RLIM_INFINITY or wanted <= most else None


class Passthrough:
    """`passthrough_ll` over a folder, with a new server that has everything cached, gone at the end of the `with`."""

    def __init__(self, program, source, directory, descriptors, cpu):
        self.program, self.source, self.dir, self.descriptors, self.cpu = program, source, directory, descriptors, cpu

    def __enter__(self):
        self.dir.mkdir(exist_ok=True)
        command = [self.program, "-o", f"source={self.source},cache=always", str(self.dir)]
        subprocess.run(command, preexec_fn=pin_to(self.cpu, self.descriptors), check=True, capture_output=True)
        return self

    def __exit__(self, *_):
        unmount(self.dir)
