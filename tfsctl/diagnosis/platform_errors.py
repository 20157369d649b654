"""Known errors of what a server runs on: Docker, Kubernetes, the processor, the GPU and the operating system."""

from __future__ import annotations

from tfsctl.diagnosis.known_error import KnownError

PLATFORM_ERRORS = (
    # images
    KnownError(
        r"(?i:toomanyrequests|pull rate limit)",
        "the registry's limit of pulls for this account or address is used up",
        "run `docker login`, which has a higher limit, or wait; images that are already here run without a pull",
    ),
    KnownError(
        r"(?i:pull access denied for (?P<image>[^\s,]+)|repository does not exist|"
        r"manifest for (?P<tagged>\S+) not found|manifest unknown)",
        "the registry has no such image or tag, or the image is private",
        "check the spelling of the image and its tag; `docker login` gives access to private images",
    ),
    KnownError(
        r"\b(?:ImagePullBackOff|ErrImagePull)\b",
        "the Kubernetes node cannot pull the image: the name is wrong, the registry denies access, or it is not reached",
        "kubectl describe pod POD shows the registry's message; tfsctl explain reads it from stdin",
    ),
    KnownError(
        r"(?i:exec format error)",
        "the program was built for another processor, for example an amd64 image on an ARM machine",
        "build or pull the image for this processor; tfsctl serve PATH --engine embedded needs no image",
    ),
    KnownError(
        r"version [`'](?P<library>GLIBC(?:XX)?_[\d.]+)' not found",
        "the program was built for a newer Linux: it needs {library}, which this system's libraries lack",
        "run it in a container: tfsctl serve PATH --engine docker; or install a build for this system",
    ),
    # Docker
    KnownError(
        r"(?i:permission denied while trying to connect to the docker)",
        "this user has no access to the Docker daemon",
        "sudo usermod --append --groups docker $USER, then log in again",
    ),
    KnownError(
        r"(?i:cannot connect to the docker daemon|is the docker daemon running)",
        "the Docker daemon does not respond",
        "start it (for example `sudo systemctl start docker`); tfsctl serve PATH --engine embedded needs no Docker",
    ),
    KnownError(
        r"bind source path does not exist: (?P<path>[^\s'\"]+?)\.?(?=[\s'\"]|$)",
        "the directory {path} does not exist on the machine of the Docker daemon",
        "correct the source of the mount, which is an absolute path; tfsctl serve PATH mounts an existing directory",
    ),
    KnownError(
        r"(?i:could not select device driver|nvidia-container-cli|unresolvable cdi devices)",
        "Docker has no working driver for NVIDIA GPUs",
        "install the NVIDIA driver and the NVIDIA Container Toolkit, or remove --gpus",
    ),
    KnownError(
        r"CUDA driver version is insufficient for CUDA runtime version",
        "the NVIDIA driver of this machine is older than the CUDA of the server",
        "update the driver, or use an image with an older CUDA: tfsctl serve PATH --tag TAG",
    ),
    # limits and the state of containers
    KnownError(
        r"OOMKilled|oom-kill|Out of memory: Kill(?:ed)? process|"
        r"[Ee]xit(?:ed)?(?: with)?[ _]?(?:[Cc]ode|[Ss]tatus)?[\"':=\s(]{0,20}137\b|"
        r"(?m:^[^\n]{0,200}\d Killed\b|^Killed$)",
        "the process was killed (SIGKILL), in most cases because it reached its memory limit or the machine's memory ran "
        "out",
        "raise the limit (tfsctl serve --memory SIZE, in Kubernetes resources.limits.memory), or load fewer versions",
    ),
    KnownError(
        r"(?i:no space left on device)",
        "a disk is full",
        "`df -h` shows which one; tfsctl export --keep N removes old versions, and `docker system prune` unused images",
    ),
    KnownError(
        r"Insufficient (?P<resource>cpu|memory|ephemeral-storage|[\w.-]+/[\w.-]+)",
        "no Kubernetes node has as much free {resource} as the pod requests",
        "lower resources.requests, or add a node; `kubectl describe nodes` shows what is in use",
    ),
    KnownError(
        r"CrashLoopBackOff|Back-off restarting failed container|Restarting \(\d+\) ",
        "the container is restarted again and again, because its program ends soon after its start; its log says why",
        "kubectl logs -p POD | tfsctl explain, or docker logs NAME 2>&1 | tfsctl explain",
    ),
)
