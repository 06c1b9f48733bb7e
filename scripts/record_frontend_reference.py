"""Records what PyTorch makes of the front-end's fixtures.

Input: tests/fixtures/{accept,reject}/*.py. Output: tests/fixtures/reference.json with, for each fixture, whether it
builds and maps (2, 3, 32, 32) to (2, 10), the number of parameters, and the keys and sizes of its state_dict.
Run with a Python that has torch: python scripts/record_frontend_reference.py
"""

import json
import pathlib
import sys
import types

import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures"


def network(source):
    """The instance of the last class derived from nn.Module."""
    sys.modules["candidate"] = types.ModuleType("candidate")
    names = vars(sys.modules["candidate"])
    exec(compile(source, "fixture.py", "exec"), names)
    classes = [v for v in names.values() if isinstance(v, type) and issubclass(v, torch.nn.Module)]
    return [c for c in classes if c.__module__ == "candidate"][-1]()


def record(path):
    """What PyTorch says of one fixture."""
    try:
        net = network(path.read_text())
        output = net(torch.randn(2, 3, 32, 32))
        valid = isinstance(output, torch.Tensor) and tuple(output.shape) == (2, 10)
    except Exception as error:  # every failure is a verdict
        return {"valid": False, "error": f"{type(error).__name__}: {error}"}
    return {
        "valid": valid,
        "parameters": sum(p.numel() for p in net.parameters()),
        "state": [[key, list(value.shape)] for key, value in net.state_dict().items()],
    }


def main():
    """Write the reference file."""
    fixtures = sorted(ROOT.glob("accept/*.py")) + sorted(ROOT.glob("reject/*.py"))
    reference = {f"{path.parent.name}/{path.stem}": record(path) for path in fixtures}
    recorded = {"torch": torch.__version__, "fixtures": reference}
    (ROOT / "reference.json").write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    main()
