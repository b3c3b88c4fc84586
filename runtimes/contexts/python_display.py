# SPDX-License-Identifier: Apache-2.0
"""IPython's shell for a kernel: what it shows becomes lines of the stream. Loaded by
python_kernel.py."""
import getpass  # noqa: F401
import json
import os
import re
import subprocess
import sys

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.formatters import BaseFormatter
from IPython.core.history import HistoryManager
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type, Unicode

import python_charts

LINE_MAX = 40 << 20  # bytes of one event
DATA_CELLS_MAX = 500_000  # of a table whose values are sent beside its HTML

FIELDS = {"text/plain": "text", "text/html": "html", "text/markdown": "markdown",
          "image/svg+xml": "svg", "image/png": "png", "image/jpeg": "jpeg",
          "application/pdf": "pdf", "text/latex": "latex", "application/json": "json",
          "application/javascript": "javascript", "e2b/data": "data", "e2b/chart": "chart"}
IMAGES = ("image/png", "image/jpeg", "application/pdf")
QUOTED = re.compile(r"""(['"])((?:(?!\1).)*)\1\Z""", re.DOTALL)


class Nowhere:
    def emit(self, event, late=False):
        pass


def line_of(event):
    text = json.dumps(event, ensure_ascii=False, default=str) + "\n"
    try:
        line = text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        line = (json.dumps(event, default=str) + "\n").encode()
    if len(line) <= LINE_MAX:
        return line
    print(f"a result of {len(line)} bytes was cut: the limit is {LINE_MAX}", file=sys.stderr)
    short = {"type": "result", "text": str(event.get("text", event.get("value", "")))[:100_000],
             "extra": {}, "is_main_result": bool(event.get("is_main_result"))}
    return (json.dumps(short) + "\n").encode()


def encoded(value):
    """Bytes of an image as text; IPython has some of them encoded already."""
    if isinstance(value, bytes):
        import base64

        return base64.b64encode(value).decode()
    return value


def result_of(bundle, main):
    """The stream's result event for a bundle of representations by MIME type."""
    event = {"type": "result"}
    extra = {}
    for mime, value in bundle.items():
        if value is None:
            continue
        field = FIELDS.get(mime)
        if field is None:
            extra[mime] = encoded(value)
        elif field == "text":
            match = QUOTED.match(value)
            event[field] = match.group(2) if match else value
        else:
            value = encoded(value)
            event[field] = value.rstrip("\n") if mime in IMAGES else value
    event["extra"] = extra
    event["is_main_result"] = main
    return event


SIMPLE = (int, float, complex, bool, str, bytes, list, tuple, dict, set, frozenset)


class Hook(DisplayHook):
    """The value of a cell's last expression."""

    def compute_format_data(self, result):
        # Asking every formatter in turn is half of what a short cell costs.
        kind = type(result)
        formatters = self.shell.display_formatter.formatters
        if kind in SIMPLE and not any(kind in f.type_printers for m, f in formatters.items()
                                      if m != "text/plain"):
            return {"text/plain": formatters["text/plain"](result)}, {}
        return super().compute_format_data(result)

    def write_output_prompt(self):
        pass

    def write_format_data(self, format_dict, md_dict=None):
        if format_dict:
            self.shell.emitter.emit(result_of(format_dict, True), late=True)

    def finish_displayhook(self):
        pass


class Publisher(DisplayPublisher):
    """What display() shows."""

    def publish(self, data, metadata=None, source=None, *, transient=None, update=False, **kwargs):
        if data:
            self.shell.emitter.emit(result_of(data, False))

    def clear_output(self, wait=False):
        pass


class History(HistoryManager):
    """Inputs and outputs of this process alone: no database, no thread."""

    enabled = False


class DataFormatter(BaseFormatter):
    format_type = Unicode("e2b/data")
    print_method = "_repr_e2b_data_"
    _return_type = dict


class ChartFormatter(BaseFormatter):
    format_type = Unicode("e2b/chart")
    print_method = "_repr_e2b_chart_"
    _return_type = dict

    # Not by for_type(): what selects a figure's image formats forgets all other ways to show one.
    def __call__(self, obj):
        module = sys.modules.get("matplotlib.figure")
        if module is None or not isinstance(obj, module.Figure):
            return super().__call__(obj)
        try:
            return python_charts.chart_of(obj)
        except Exception:  # a figure of a kind that was not thought of is still an image
            return None


def plain(value):
    """One value of a table as JSON has it."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if hasattr(value, "isoformat"):
        return value.isoformat() if value == value else None
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        return plain(value.item())
    return str(value)


def table_data(frame):
    if frame.size > DATA_CELLS_MAX:
        return None
    return {str(name): [plain(v) for v in frame.iloc[:, at].tolist()]
            for at, name in enumerate(frame.columns)}


class Shell(InteractiveShell):
    displayhook_class = Type(Hook)
    display_pub_class = Type(Publisher)
    emitter = None

    def __init__(self, **kwargs):
        super().__init__(colors="NoColor", **kwargs)
        for formatter in (DataFormatter, ChartFormatter):
            made = formatter(parent=self.display_formatter)
            self.display_formatter.formatters[made.format_type] = made
        self.display_formatter.formatters["e2b/data"].for_type_by_name(
            "pandas.core.frame", "DataFrame", table_data)

    def init_history(self):
        self.history_manager = History(shell=self, parent=self)
        self.configurables.append(self.history_manager)

    def init_virtualenv(self):
        pass

    def enable_gui(self, gui=None):
        pass

    def ask_exit(self):
        raise SystemExit(0)

    def system(self, cmd):
        """`!command`: its output goes where this process's own goes."""
        sys.stdout.flush()
        sys.stderr.flush()
        code = subprocess.call(["/bin/bash", "-c", self.var_expand(cmd, depth=1)],
                               stdin=subprocess.DEVNULL)
        self.user_ns["_exit_code"] = code

    system_raw = system_piped = system

    def _showtraceback(self, etype, evalue, stb):
        text = stb if isinstance(stb, str) else "\n".join(stb)
        try:
            value = str(evalue)
        except Exception:  # an exception of the user's whose text cannot be made
            value = "<no text>"
        name = getattr(etype, "__name__", str(etype))
        self.emitter.emit({"type": "error", "name": name, "value": value, "traceback": text},
                          late=True)


os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
