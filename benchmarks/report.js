"use strict";
// Draws the pictures and runs the error browser of a report. Everything that comes from results is set as text, never as
// markup. The page's data are described in report_answers.py, its figures in report_figures.py.

document.documentElement.classList.add("js");
const byId = id => document.getElementById(id);
const parsed = id => JSON.parse(byId(id).textContent);

// ---- pictures

const COLOURS = 8;
const figures = parsed("figures");
const boxes = [...document.querySelectorAll("[data-method]")];
const dark = matchMedia("(prefers-color-scheme: dark)");

function themed(figure) {
  const style = getComputedStyle(document.documentElement);
  const value = name => style.getPropertyValue(name).trim();
  const data = figure.data.map(trace => {
    const color = value(`--c${trace.meta % COLOURS}`);
    const coloured = {...trace, visible: boxes[trace.meta].checked, marker: {...trace.marker, color}};
    if (trace.line) coloured.line = {...trace.line, color};
    if (trace.error_y) coloured.error_y = {...trace.error_y, color};
    return coloured;
  });
  const axis = {gridcolor: value("--line"), linecolor: value("--soft"), tickcolor: value("--soft")};
  const layout = {
    ...figure.layout,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: {family: "system-ui, sans-serif", size: 13, color: value("--ink")},
    hoverlabel: {bgcolor: value("--panel"), bordercolor: value("--soft"), font: {color: value("--ink")}},
    xaxis: {...figure.layout.xaxis, ...axis},
    yaxis: {...figure.layout.yaxis, ...axis},
    shapes: (figure.layout.shapes || []).map(shape => ({...shape, line: {...shape.line, color: value("--soft")}})),
  };
  return [data, layout, {responsive: true, displayModeBar: false}];
}

function draw() {
  figures.forEach((figure, place) => Plotly.react(`picture-${place}`, ...themed(figure)));
}

async function begin() {
  await unpackPlotly();
  draw();
  boxes.forEach(box => box.addEventListener("change", draw));
  dark.addEventListener("change", draw);
}

// ---- error browser

const PAGE = 10;
const data = parsed("data");
const [method, outcome, beside, text] = ["method", "outcome", "beside", "text"].map(byId);
const view = {found: [], page: 0};
const haystacks = data.queries.map(([said, gold]) => {
  const names = gold.flatMap(tool => data.tools[tool].slice(0, 2));
  return [said, ...names].join("\n").toLowerCase();
});

// What a method answered: its NDCG@5, the places of the tools, and their scores.
function answered(query, place) {
  const [ndcg, ...rest] = query[place + 2];
  const even = (_, index) => index % 2 === 0;
  return {ndcg, tools: rest.filter(even), scores: rest.filter((_, index) => index % 2 === 1)};
}

const isGold = (query, tool) => query[1].includes(tool);

// Five answers cannot hold more than five gold tools.
function foundAll(query, tools) {
  return tools.filter(tool => isGold(query, tool)).length >= Math.min(query[1].length, 5);
}

const OUTCOMES = {
  all: () => true,
  first: (query, tools) => !isGold(query, tools[0]),
  missing: (query, tools) => !foundAll(query, tools),
  none: (query, tools) => !tools.some(tool => isGold(query, tool)),
  right: (query, tools) => isGold(query, tools[0]) && foundAll(query, tools),
};
const BESIDE = {
  all: () => true,
  worse: difference => difference < -1e-9,
  better: difference => difference > 1e-9,
  equal: difference => Math.abs(difference) <= 1e-9,
};

function fits(query, place, words) {
  const own = answered(query, Number(method.value));
  const base = data.baseline === null ? own : answered(query, data.baseline);
  return OUTCOMES[outcome.value](query, own.tools) && BESIDE[beside.value](own.ndcg - base.ndcg)
    && words.every(word => haystacks[place].includes(word));
}

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

function stranger(said) {
  return make("bdi", "", said);
}

function described(tool) {
  const [id, name, group] = data.tools[tool];
  if (name === undefined) return [stranger(id)];
  const more = [id === name ? "" : id, group].filter(Boolean).join(", ");
  return more ? [stranger(name), make("span", "aside", " (", stranger(more), ")")] : [stranger(name)];
}

function judged(query, tool) {
  if (isGold(query, tool)) return make("span", "hit", "✓ gold: ");
  const said = data.tools[tool];
  if (said.length === 1) return make("span", "wrong", "✗ no tool: ");
  const same = said[4] >= 0 && query[1].some(gold => data.tools[gold][4] === said[4]);
  return same ? make("span", "same", "≈ a gold tool's document: ") : make("span", "wrong", "✗ ");
}

function listed(query, place, role) {
  const {ndcg, tools, scores} = answered(query, place);
  const [name, seed] = data.methods[place];
  const items = tools.map((tool, rank) =>
    make("li", "", judged(query, tool), ...described(tool), make("span", "aside", ` ${scores[rank]}`)));
  const title = make("h4", "", `${role}: `, stranger(name), seed === null ? "" : `, seed ${seed}`, `, NDCG@5 ${ndcg.toFixed(3)}`);
  return make("div", "", title, items.length ? make("ol", "", ...items) : make("p", "note", "No answer."));
}

function shown(query) {
  const title = make("h3", "", query[0]);
  title.dir = "auto";
  const gold = query[1].map(tool =>
    make("li", "", ...described(tool), data.tools[tool][3] ? "" : make("span", "aside", ", no training query")));
  const own = Number(method.value);
  const lists = [listed(query, own, "Method")];
  if (data.baseline !== null && data.baseline !== own) lists.push(listed(query, data.baseline, "Best baseline"));
  return make("article", "", title, make("h4", "", "Gold"), make("ul", "", ...gold), make("div", "beside", ...lists));
}

function show() {
  const pages = Math.max(1, Math.ceil(view.found.length / PAGE));
  const first = view.page * PAGE;
  const part = view.found.slice(first, first + PAGE);
  byId("answers").replaceChildren(...part.map(place => shown(data.queries[place])));
  const range = part.length ? `: ${first + 1} to ${first + part.length}` : "";
  const taken = data.queries.length < data.of ? ` (thinned out evenly from ${data.of})` : "";
  byId("found").textContent = `${view.found.length} of ${data.queries.length} queries${taken}${range}`;
  byId("at").textContent = `Page ${view.page + 1} of ${pages}`;
  byId("back").setAttribute("aria-disabled", String(view.page === 0));
  byId("on").setAttribute("aria-disabled", String(view.page + 1 >= pages));
}

function search() {
  const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
  view.found = [...data.queries.keys()].filter(place => fits(data.queries[place], place, words));
  view.page = 0;
  show();
}

function turn(by) {
  const next = view.page + by;
  if (next < 0 || next * PAGE >= view.found.length) return;
  view.page = next;
  show();
  byId("found").scrollIntoView({block: "start"});
}

data.methods.forEach(([name, seed], place) => {
  const option = make("option", "", seed === null ? name : `${name}, seed ${seed}`);
  option.value = place;
  method.append(option);
});
method.value = data.generative ?? 0;
outcome.value = "first";
[method, outcome, beside].forEach(control => control.addEventListener("change", search));
text.addEventListener("input", search);
byId("filters").addEventListener("submit", event => event.preventDefault());
byId("back").addEventListener("click", () => turn(-1));
byId("on").addEventListener("click", () => turn(1));
search();

begin().catch(() => {
  byId("undrawn").hidden = false;
});
