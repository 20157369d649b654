"""The messages of TensorFlow Serving, loaded without TensorFlow."""

from __future__ import annotations

import subprocess
import sys

IMPORTS_MEANWHILE = """
import sys, threading
from tfsctl.core import protos

def import_modules():
    number = 0
    while True:
        number += 1
        sys.modules[f"module_{number}"] = sys
        if number % 100 == 0:
            for old in range(number - 99, number + 1):
                del sys.modules[f"module_{old}"]

sys.setswitchinterval(1e-6)
threading.Thread(target=import_modules, daemon=True).start()
for _ in range(2000):
    with protos._placeholder():
        pass
print(protos.ModelSpec(name="m").name, "tensorflow" in sys.modules, flush=True)
"""


def test_other_threads_may_import_while_a_message_is_loaded() -> None:
    """The placeholder for `tensorflow` is removed although `sys.modules` changes."""
    found = subprocess.run([sys.executable, "-c", IMPORTS_MEANWHILE], capture_output=True, text=True, check=False)

    assert found.stdout == "m False\n", found.stderr
