# SPDX-License-Identifier: Apache-2.0
"""The data behind a matplotlib figure, as E2B's SDKs know charts: lines, scatters, bars, pies, box
plots, and several of them in one figure. matplotlib is not imported here: whoever has a figure has
imported it."""
import datetime
import re
import sys

POINTS_MAX = 200_000  # of one figure; beyond that it is shown as an image alone
UNIT = re.compile(r"\(([^()]+)\)\s*$")


class TooMuch(Exception):
    pass


def plain(value):
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if type(value).__name__ == "datetime64":
        return plain(value.astype("datetime64[us]").item())
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "item"):
        return plain(value.item())
    return str(value)


def labelled(artist, kind, number):
    label = str(artist.get_label())
    return f"{kind} {number}" if label.startswith("_") or not label else label


def unit_of(label):
    match = UNIT.search(label or "")
    return match.group(1) if match else None


def scale_of(axis):
    converter = type(getattr(axis, "converter", None)).__name__
    if converter == "StrCategoryConverter":
        return "categorical"
    if "Date" in converter or "Datetime" in converter or "TimeSeries" in converter:
        return "datetime"
    return axis.get_scale()


def on_axis(value, axis):
    """A drawn coordinate as the value that was given for it."""
    scale = scale_of(axis)
    if scale == "datetime":
        return sys.modules["matplotlib.dates"].num2date(value).isoformat()
    if scale == "categorical":
        names = list(axis.units._mapping) if axis.units is not None else []
        at = round(float(value))
        return names[at] if 0 <= at < len(names) else plain(value)
    return plain(value)


def ticks_of(axis):
    labels = [text.get_text() for text in axis.get_ticklabels()]
    return [on_axis(t, axis) if scale_of(axis) == "datetime" else plain(t)
            for t in axis.get_ticklocs()], labels


def base_of(ax, kind):
    return {"type": kind, "title": ax.get_title() or None}


def plane_of(ax, kind):
    chart = base_of(ax, kind)
    for side in ("x", "y"):
        label = getattr(ax, f"get_{side}label")() or None
        chart[f"{side}_label"] = label
        chart[f"{side}_unit"] = unit_of(label)
    return chart


def points_plane_of(ax, kind):
    chart = plane_of(ax, kind)
    for side in ("x", "y"):
        axis = getattr(ax, f"{side}axis")
        chart[f"{side}_ticks"], chart[f"{side}_tick_labels"] = ticks_of(axis)
        chart[f"{side}_scale"] = scale_of(axis)
    return chart


def check_size(count):
    if count > POINTS_MAX:
        raise TooMuch


def line_chart(ax, lines):
    chart = points_plane_of(ax, "line")
    chart["elements"] = []
    for number, line in enumerate(lines):
        xs, ys = line.get_xdata(orig=True), line.get_ydata(orig=True)
        check_size(len(xs))
        chart["elements"].append({"label": labelled(line, "Line", number),
                                  "points": [[plain(x), plain(y)] for x, y in zip(xs, ys)]})
    return chart


def scatter_chart(ax, collections):
    chart = points_plane_of(ax, "scatter")
    chart["elements"] = []
    for number, collection in enumerate(collections):
        offsets = collection.get_offsets()
        check_size(len(offsets))
        points = [[on_axis(x, ax.xaxis), on_axis(y, ax.yaxis)] for x, y in offsets]
        chart["elements"].append({"label": labelled(collection, "Dataset", number),
                                  "points": points})
    return chart


def bar_chart(ax, containers):
    chart = plane_of(ax, "bar")
    chart["elements"] = []
    for number, container in enumerate(containers):
        upright = getattr(container, "orientation", "vertical") != "horizontal"
        axis = ax.xaxis if upright else ax.yaxis
        names = {round(float(at), 6): text.get_text()
                 for at, text in zip(axis.get_ticklocs(), axis.get_ticklabels())}
        group = labelled(container, "Group", number) if len(containers) > 1 else (
            container.get_label() if not str(container.get_label()).startswith("_") else "")
        for bar in container.patches:
            middle = bar.get_x() + bar.get_width() / 2 if upright else (
                bar.get_y() + bar.get_height() / 2)
            name = names.get(round(float(middle), 6)) or str(on_axis(middle, axis))
            value = bar.get_height() if upright else bar.get_width()
            chart["elements"].append({"label": name, "value": plain(value), "group": str(group)})
    if containers and getattr(containers[0], "orientation", "vertical") == "horizontal":
        for part in ("label", "unit"):
            chart[f"x_{part}"], chart[f"y_{part}"] = chart[f"y_{part}"], chart[f"x_{part}"]
    return chart


def pie_chart(ax, wedges):
    chart = base_of(ax, "pie")
    chart["elements"] = [{"label": str(wedge.get_label()), "angle": plain(
        round(abs(wedge.theta2 - wedge.theta1), 6)), "radius": plain(wedge.r)} for wedge in wedges]
    return chart


def box_chart(ax, boxes):
    chart = plane_of(ax, "box_and_whisker")
    chart["elements"] = []
    names = [text.get_text() for text in ax.get_xticklabels()]
    for number, box in enumerate(boxes):
        name = box.get("label") or (names[number] if number < len(names) else str(number + 1))
        chart["elements"].append({
            "label": str(name), "min": plain(box["whislo"]), "first_quartile": plain(box["q1"]),
            "median": plain(box["med"]), "third_quartile": plain(box["q3"]),
            "max": plain(box["whishi"]), "outliers": [plain(v) for v in box.get("fliers", [])]})
    return chart


def chart_of_axes(ax):
    wedges = [p for p in ax.patches if type(p).__name__ == "Wedge"]
    bars = [c for c in ax.containers if type(c).__name__ == "BarContainer"]
    scatters = [c for c in ax.collections if type(c).__name__ == "PathCollection"]
    boxes = getattr(ax, "_csb_boxes", None)
    if wedges:
        return pie_chart(ax, wedges)
    if boxes and (ax.lines or ax.patches):
        return box_chart(ax, boxes)
    if bars:
        return bar_chart(ax, bars)
    if scatters:
        return scatter_chart(ax, scatters)
    if ax.lines:
        return line_chart(ax, list(ax.lines))
    return {**base_of(ax, "unknown"), "elements": []}


def chart_of(figure):
    """The chart of a Figure, or None when it has none to tell of."""
    try:
        charts = [chart_of_axes(ax) for ax in figure.axes]
    except TooMuch:
        return None
    charts = [c for c in charts if c["type"] != "unknown"] or charts
    if not charts:
        return None
    if len(charts) == 1:
        return charts[0]
    title = figure._suptitle.get_text() if getattr(figure, "_suptitle", None) else None
    return {"type": "superchart", "title": title or None, "elements": charts}


def remember_boxes():
    """A box plot leaves nothing but lines; what they were drawn from is kept beside them."""
    axes = sys.modules["matplotlib.axes"].Axes
    draw = axes.bxp

    def bxp(self, bxpstats, *arguments, **named):
        stats = list(bxpstats)
        drawn = draw(self, stats, *arguments, **named)
        self._csb_boxes = getattr(self, "_csb_boxes", []) + stats
        return drawn

    bxp.__doc__ = draw.__doc__
    axes.bxp = bxp
