# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The report of an analysis: one HTML page with its figures in it, which asks for nothing from outside."""

import base64
import html

import numpy as np

from mohd.analyze.plots import FIGURES, PART_NAMES, at
from mohd.analyze.stream import SITES

STYLE = """
body { font: 16px/1.5 system-ui, "DejaVu Sans", Arial, sans-serif; color: #222; background: #fff; }
body { max-width: 1200px; margin: 2em auto; padding: 0 1.5em; } p, li, figcaption { max-width: 60em; }
h1 { font-size: 1.7em; } h2 { font-size: 1.3em; margin-top: 2em; border-bottom: 1px solid #ccc; } h3 { font-size: 1.05em; margin-bottom: 0.3em; }
img { max-width: 100%; height: auto; } figure { margin: 1.5em 0; } figcaption { margin-bottom: 0.5em; }
table { border-collapse: collapse; font-size: 0.88em; margin: 0.7em 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25em 0.55em; text-align: right; border-bottom: 1px solid #e2e2e2; vertical-align: bottom; }
td { white-space: nowrap; } th { background: #f4f4f4; font-weight: 600; } th:first-child, td:first-child, td.text { text-align: left; }
.scroll { overflow-x: auto; } summary { cursor: pointer; } code { background: #f4f4f4; padding: 0 0.2em; }
"""

HEAD = ('<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n")

WORDS = (
    ("energy of a dim", "the square of its activation for a token."),
    ("top dims", "the {top} % of dims that have a token's largest energies."),
    ("overlap", "the share of a token's top dims that the token before in the same sequence has, too. Shuffled: the same of tokens in random order."),
    ("run", "tokens on end in one sequence for which a dim is a top one; the mean is over all runs."),
    ("shared, specialised", "a dim that is a top one for at least {shared} % of tokens; for some, but fewer than {specialised} %."),
    ("left out", "tokens whose activations are all zero, or not all finite."),
)


def percent(value):
    """A share as people read it."""
    return "–" if value is None else f"{100 * value:.1f} %"


def number(value, digits=2):
    """A number as people read it."""
    return "–" if value is None else f"{value:,.{digits}f}"


def mean(values):
    """The mean of those that are there, None if none is."""
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def table(titles, rows):
    """A table whose cells are text, escaped here."""
    line = lambda tag, cells: "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>\n"
    return '<div class="scroll"><table>\n' + line("th", titles) + "".join(line("td", row) for row in rows) + "</table></div>\n"


def facts(result):
    """What was looked at."""
    model, text, config = result["model"], result["text"], result["model"]["config"]
    block = config.get("mohd")
    groups = "none, a dense model"
    if block:
        groups = f"{block['num_groups']}: {block['num_shared']} shared, {block['num_routed']} routed for each token"
    return table(("", ""), [
        ("model", model["name"]), ("parameters", f"{model['parameters']:,}, of which a token uses {model['activated_parameters']:,}"),
        ("layers", config["num_hidden_layers"]),
        ("dims", f"{config['hidden_size']:,} of the residual stream, {config['intermediate_size']:,} inner ones of the FFN"),
        ("groups", groups),
        ("text", f"{text['name']}: {text['tokens']:,} tokens in {text['sequences']:,} sequences of {text['sequence_length']:,}"),
    ]).replace("<tr><th></th><th></th></tr>\n", "").replace("<td>", '<td class="text">')


def over_layers(result, site, *path):
    """The mean over layers of the value at `path`."""
    return mean(at(layer["sites"][site], *path) for layer in result["layers"])


def routers_of(result):
    """Each router as (layer, part, its quantities)."""
    return [(layer["layer"], part, found) for layer in result["layers"] for part, found in layer["routing"].items()]


def in_short(result):
    """The main findings as sentences, of means over layers."""
    site = "mlp_norm"
    get = lambda *path: percent(over_layers(result, site, *path))
    dims = result["layers"][0]["sites"][site]["dims"]
    shared, special = over_layers(result, site, "shared", "count"), over_layers(result, site, "specialised", "count")
    lines = [
        f"In the {SITES[site]}, half of a token's energy is in {get('energy', '50', 'mean')} of the dims, 90 % in {get('energy', '90', 'mean')} and "
        f"99 % in {get('energy', '99', 'mean')}. Equal dims would need 50, 90 and 99 %.",
        f"There, a token has {get('overlap', 'consecutive', 'mean')} of its top dims in common with the token before, and "
        f"{get('overlap', 'shuffled', 'mean')} with a random one.",
        f"{number(shared, 1)} of {dims:,} dims are shared; they carry {get('shared', 'energy')} of the energy. {number(special, 1)} are specialised.",
    ]
    found = [router for _, _, router in routers_of(result)]
    load, seen = mean(router["load"] for router in found), mean(at(router, "sets", "seen") for router in found)
    if load is not None:
        lines.append(f"A router's most used routed group has {number(load)} times as many tokens as if all had the same; a router has chosen "
                     f"{number(seen, 0)} different sets of groups.")
    entries = [entry for router in found for entry in router["bucket"] or [] if entry["tile_rows"] == 64]
    if entries:
        size = max(entry["tokens"] for entry in entries)
        get = lambda key: percent(mean(entry[key] for entry in entries if entry["tokens"] == size))
        lines.append(f"In calls of {size:,} tokens, {get('coverage')} of what tiles of 64 tokens in bucket order compute is useful "
                     f"({get('unordered')} in the tokens' own order), and a product does {get('of_dense')} of the work of a dense one.")
    return "<ul>\n" + "".join(f"<li>{html.escape(text)}</li>\n" for text in lines) + "</ul>\n<p>All are means over layers.</p>\n"


SITE_TITLES = (
    "dims for 50 %", "for 90 %", "for 99 %", "overlap", "shuffled", "run", "shuffled", "shared dims", "their energy", "specialised", "never top",
    "left out",
)


def site_row(get):
    """The cells of one row; get(*path) is a value or None."""
    return (
        *(percent(get("energy", share, "mean")) for share in ("50", "90", "99")),
        percent(get("overlap", "consecutive", "mean")), percent(get("overlap", "shuffled", "mean")),
        number(get("run_length", "all")), number(get("run_length", "shuffled")),
        number(get("shared", "count"), 0), percent(get("shared", "energy")), number(get("specialised", "count"), 0),
        number(get("never"), 0), number(get("zero") + get("not_finite"), 0),
    )


def site_tables(result):
    """The mean over layers of each site, and each layer."""
    rows = [(f"{site}: {words}", *site_row(lambda *path: over_layers(result, site, *path))) for site, words in SITES.items()]
    out = table(("site, mean over layers", *SITE_TITLES), rows)
    for site, words in SITES.items():
        rows = [(layer["layer"], *site_row(lambda *path: at(layer["sites"][site], *path))) for layer in result["layers"]]
        out += f"<details><summary><code>{site}</code>: {words}, each layer</summary>\n{table(('layer', *SITE_TITLES), rows)}</details>\n"
    return out


def router_row(layer, part, found):
    """The cells of one router."""
    sets, seen, common = found["sets"], "–", "–"
    if sets:
        most = sets["most_common"][0]
        seen, common = f"{sets['seen']:,} of {sets['possible']:,}", f"{{{', '.join(map(str, most['groups']))}}} {percent(most['share'])}"
    return (
        f"{layer}, {PART_NAMES[part]}", number(found["balance"]), number(found["load"]),
        percent(at(found, "use_entropy", "share")), percent(at(found, "score_entropy", "share")),
        seen, number(at(sets, "effective"), 1), number(at(sets, "for_90_percent"), 0), common,
        percent(at(found, "kept", "consecutive")), percent(at(found, "kept", "shuffled")),
    )


def router_tables(result):
    """Routers, and what their sets mean for tiles of tokens."""
    found = routers_of(result)
    titles = ("layer", "balance", "load", "entropy of use", "of scores", "sets seen", "effective", "for 90 % of tokens", "most common set",
              "groups kept", "shuffled")
    out = table(titles, [router_row(*router) for router in found])
    out += ("<p>Even routers have balance and load 1 and an entropy of use of 100 %. <em>Effective</em>: so many equally common sets have the same entropy. "
            "<em>Groups kept</em>: routed groups in common with the token before.</p>\n")
    rows = [(f"{layer}, {PART_NAMES[part]}", entry["tile_rows"], f"{entry['tokens']:,}",
             percent(entry["coverage"]), percent(entry["unordered"]), percent(entry["of_dense"]))
            for layer, part, router in found for entry in router["bucket"] or []]
    if rows:
        titles = ("layer", "tokens of a tile", "tokens of a call", "useful in bucket order", "in their own order", "work of a dense product")
        out += f"<details><summary>Useful share of the products, each router</summary>\n{table(titles, rows)}</details>\n"
    return out


def page(result, figures):
    """The report as HTML, of the object that `analysis.analyse` returns and the figures' PNG files by name."""
    title = html.escape(f"How {result['model']['name']} uses its hidden dims")
    shares = {key: f"{100 * result['options'][key]:g}" for key in ("top", "shared", "specialised")}
    words = "".join(f"<li><b>{name}</b>: {text.format(**shares)}</li>\n" for name, text in WORDS)
    parts = [HEAD, f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n", facts(result),
             "<h2>In short</h2>\n", in_short(result), f"<h2>Words</h2>\n<ul>\n{words}</ul>\n",
             "<p>The formulas are in docs/analysis.md of MoHD, all numbers in <code>analysis.json</code>.</p>\n<h2>Figures</h2>\n"]
    for name, image in figures.items():
        _, heading, sentence = FIGURES[name]
        data = base64.b64encode(image).decode()
        parts.append(f'<figure id="{name}">\n<figcaption><h3>{html.escape(heading)}</h3>{html.escape(sentence)}</figcaption>\n'
                     f'<img alt="{html.escape(heading)}" src="data:image/png;base64,{data}">\n</figure>\n')
    parts += ["<h2>Dims</h2>\n", site_tables(result)]
    if routers_of(result):
        parts += ["<h2>Groups</h2>\n", router_tables(result)]
    return "".join(parts) + "</body>\n</html>\n"
