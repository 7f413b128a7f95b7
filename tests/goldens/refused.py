"""The exit code and the line on standard error of commands that are refused, as they were kept."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

PATH = Path(__file__).parent / "data" / "refusals.json"
REPOSITORY = Path(__file__).parents[2]

Refusal = dict[str, int | str]  # code, line


def kept() -> dict[str, Refusal]:
    return json.loads(PATH.read_text())


def told(process: subprocess.CompletedProcess[str], **places: Path) -> Refusal:
    return {"code": process.returncode, "line": normalised(process.stderr.strip(), **places)}


def normalised(text: str, **places: Path) -> str:
    """Without what differs from run to run: places, ids, the first of several, memory in use."""
    known = {**places, "repository": REPOSITORY, "python": Path(sys.executable)}
    for name, path in sorted(known.items(), key=lambda item: -len(str(item[1]))):
        text = text.replace(str(path), f"{{{name}}}")
    text = re.sub(r"(?<=/stimuli/)\w+/[\w-]+\.jpg", "{file}", text)  # fetched side by side
    text = re.sub(r"(?<=a_file/cache/)\w+", "{step}", text)  # that is not stored yet elsewhere
    text = re.sub(r"at least [\d.]+ is needed", "at least {size} is needed", text)
    return re.sub(r"\b[0-9a-f]{32}\b", "{id}", text)
