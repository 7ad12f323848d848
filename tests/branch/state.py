"""All of a machine's state, to compare machines that descend from one another."""
import hashlib

from foliosim import branch
from foliosim._core.branch import Image
from foliosim._core.frame_memory import pieces

PAGE = 4096


def everything(machine):
    """Every record, every frame of host memory that is not zero, and what Python keeps; never a host address."""
    table, data = Image.of(machine).parts()
    memory = {}
    for offset, content in pieces(machine):
        for at in range(0, len(content), PAGE):
            memory[offset + at] = content[at:at + PAGE]
    state = branch.python_state(machine)
    policy = {point: answer if isinstance(answer, str) else type(answer) for point, answer in machine.policy.items()}
    parts = {"items": table, "records": data, "frames": state.pop("frames").tobytes(), "policy": repr(policy).encode(),
             "memory": b"".join(at.to_bytes(8, "little") + memory[at] for at in sorted(memory))}
    parts.update((name, repr(value).encode()) for name, value in state.items())
    return {name: hashlib.sha256(part).hexdigest()[:16] for name, part in parts.items()}
