"""Means with their uncertainty, tables and plots: what is printed and drawn of the records."""
import collections
import math
import random
import statistics

COLOURS = ["#27c", "#d62", "#2a5", "#a3a", "#c22", "#088", "#960", "#555"]
ROUNDS = 2000  # of the bootstrap: the ends of an interval vary by about a fiftieth of its width


def grouped(lines, *names):
    """{values of the fields `names`: lines}, sorted; of one name, the value alone."""
    groups = collections.defaultdict(list)
    for line in lines:
        groups[tuple(line[name] for name in names) if len(names) > 1 else line[names[0]]].append(line)
    return dict(sorted(groups.items()))


def mean(values):
    """Of those that are known; None if none is."""
    values = [value for value in values if value is not None]
    return statistics.fmean(values) if values else None


def interval(groups, seed=0):
    """The mean of the groups' means, and where 95 of 100 bootstrap samples have it; groups are resampled singly."""
    dice = random.Random(seed)
    groups = [list(group) for group in groups]

    def resampled():
        return statistics.fmean(statistics.fmean(dice.choices(group, k=len(group))) for group in groups)

    drawn = sorted(resampled() for _ in range(ROUNDS))
    middle = statistics.fmean(statistics.fmean(group) for group in groups)
    return middle, drawn[ROUNDS // 40], drawn[-1 - ROUNDS // 40]


def divergence(exact, other):
    """At least how much KL lies between the two, in nats, of {token: log-probability} that list only the likeliest.

    Over the tokens that both list, and all others taken as one: merging what differs can only hide divergence.
    """
    both = exact.keys() & other.keys()

    def merged(listed):
        known = [listed[token] for token in both]
        return [*known, math.log(max(1 - sum(map(math.exp, known)), 1e-9))]

    return sum(math.exp(p) * (p - q) for p, q in zip(merged(exact), merged(other)))


def table(header, rows):
    """Columns as wide as they must be: the first to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        print("  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                        for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip())


def digits(value, places=2):
    return "-" if value is None else f"{value:.{places}f}"


# ---- SVG


def picture(width, height, parts):
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
                      'font-family="sans-serif" font-size="11">', *parts, "</svg>\n"])


def scatter(panels):
    """Shares over costs. `panels`: {title: [(cost, share, label)]}, side by side."""
    width, height, edge = 460, 360, 50
    parts = []
    for panel, (title, points) in enumerate(panels.items()):
        left, right, bottom = panel * width + edge, (panel + 1) * width - 95, height - edge
        most = max(cost for cost, _, _ in points) or 1
        parts += [f'<path d="M{left} 25V{bottom}H{right}" fill="none" stroke="#888"/>',
                  f'<text x="{left}" y="15">{title} (of {most:.0f})</text>']
        taken = []
        for cost, share, label in sorted(points, key=lambda point: (point[1], point[0])):
            x, y = left + (right - left) * cost / most, bottom - (bottom - 30) * share
            place = y + 4
            while any(abs(place - other) < 11 and abs(x - at) < 90 for at, other in taken):
                place -= 11
            taken.append((x, place))
            parts += [f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4" fill="{COLOURS[0]}"/>',
                      f'<text x="{x + 7:.0f}" y="{place:.0f}">{label}</text>']
    return picture(width * len(panels), height, parts)


def curves(title, series):
    """Shares over lengths. `series`: {label: [(tokens, share, low, high)]}; lengths at equal distances."""
    width, height, edge, legend = 680, 340, 50, 220
    lengths = sorted({point[0] for points in series.values() for point in points})
    step = (width - legend - 20 - edge) / max(len(lengths) - 1, 1)

    def place(tokens, share):
        return f"{edge + 10 + step * lengths.index(tokens):.0f} {height - edge - (height - edge - 30) * share:.0f}"

    parts = [f'<text x="{edge}" y="15">{title}</text>',
             f'<path d="M{edge} 25V{height - edge}H{width - legend}" fill="none" stroke="#888"/>']
    parts += [f'<text x="{edge - 24}" y="{height - edge - (height - edge - 30) * share + 4:.0f}">{share}</text>'
              for share in (0, 0.5, 1)]
    parts += [f'<text x="{edge + 10 + step * at:.0f}" y="{height - edge + 16}" text-anchor="middle">{tokens:,}</text>'
              for at, tokens in enumerate(lengths)]
    for (label, points), colour in zip(series.items(), COLOURS * len(series)):
        points = sorted(points)
        row = 40 + 15 * list(series).index(label)
        line = "L".join(place(tokens, share) for tokens, share, _, _ in points)
        parts += [f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"/>',
                  f'<text x="{width - legend + 10}" y="{row}" fill="{colour}">{label}</text>']
        parts += [f'<path d="M{place(tokens, low)}L{place(tokens, high)}" stroke="{colour}" opacity="0.5"/>'
                  for tokens, _, low, high in points]
    return picture(width, height, parts)


def grid(title, rows, columns, scores):
    """A field for each (row, column) of `scores`, of 100; the greener the more."""
    across, down, left, top = 84, 22, 130, 50
    parts = [f'<text x="5" y="15">{title}</text>']
    parts += [f'<text x="{left + across * at + across // 2}" y="{top - 8}" text-anchor="middle">{column}</text>'
              for at, column in enumerate(columns)]
    for at, row in enumerate(rows):
        y = top + down * at
        parts.append(f'<text x="5" y="{y + 15}">{row}</text>')
        for place, column in enumerate(columns):
            if (score := scores.get((row, column))) is not None:
                x = left + across * place
                parts += [f'<rect x="{x}" y="{y}" width="{across - 2}" height="{down - 2}" '
                          f'fill="hsl({1.2 * score:.0f},55%,75%)"/>',
                          f'<text x="{x + across // 2}" y="{y + 15}" text-anchor="middle">{score:.0f}</text>']
    return picture(left + across * len(columns) + 5, top + down * len(rows) + 5, parts)
