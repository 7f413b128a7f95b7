"""`python -m tests.goldens [name …]`: keep what the program finds now, of these commands or of all.

What differs from what was kept is printed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests import conftest
from tests.goldens import collect, refused
from tests.goldens.commands import COMMANDS, REFUSED, found, refusal, untrusted_files
from tests.test_bad_input import wrong_material


def main(names: list[str]) -> None:
    if unknown := set(names) - {*COMMANDS, "refusals"}:
        sys.exit(f"no golden is called {', '.join(unknown)}; there are {', '.join(COMMANDS)}")
    conftest.SECONDS = 3600  # also where other work runs beside it
    with tempfile.TemporaryDirectory() as place:
        root = Path(place).resolve()
        for name in names or [*COMMANDS, "refusals"]:
            for folder in ("work", "material", "outputs"):
                (root / folder).mkdir(exist_ok=True)
            if name == "refusals":
                material = wrong_material(root / "material")
                untrusted_files(material / "untrusted")
                now = {case: refusal(case, material, root / "outputs") for case in REFUSED}
                before = refused.kept() if refused.PATH.is_file() else now
                collect.write_json(refused.PATH, now)
            else:
                now = found(name, root / "work")
                kept = (collect.DATA / name / "runs.json").is_file()
                before = collect.read(name) if kept else now
                collect.write(name, now)
            print(f"{name}: written", flush=True)
            for line in collect.differences(before, now, name):
                print(f"  {line}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
