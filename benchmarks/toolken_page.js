"use strict";
// Draws the pictures; their figures and colours' numbers are described in toolken_pictures.py, the colours in report.css.
document.documentElement.classList.add("js");
const byId = id => document.getElementById(id);
const figures = JSON.parse(byId("figures").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");

function draw() {
  const style = getComputedStyle(document.documentElement);
  const value = name => style.getPropertyValue(name).trim();
  const axis = {fixedrange: true, automargin: true, gridcolor: value("--line"), linecolor: value("--soft"),
    zerolinecolor: value("--soft")};
  figures.forEach((figure, place) => {
    const data = figure.data.map(trace => {
      const color = value(`--c${trace.meta}`);
      return {...trace, hoverinfo: "text", marker: {...trace.marker, color, size: 9},
        line: {...trace.line, color, width: 2}, error_y: {...trace.error_y, color, thickness: 1.5}};
    });
    const layout = {
      height: 340, margin: {l: 55, r: 15, t: 10, b: 45}, showlegend: false, dragmode: false, hovermode: "closest",
      scattermode: figure.data.some(trace => trace.mode === "markers") ? "group" : "overlay",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: {family: "system-ui, sans-serif", size: 13, color: value("--ink")},
      hoverlabel: {bgcolor: value("--panel"), bordercolor: value("--soft"), font: {color: value("--ink")}},
      xaxis: {...axis, ...figure.layout.xaxis}, yaxis: {...axis, ...figure.layout.yaxis},
    };
    Plotly.react(`picture-${place}`, data, layout, {responsive: true, displayModeBar: false});
  });
}

async function begin() {
  await unpackPlotly();
  draw();
  dark.addEventListener("change", draw);
}

begin().catch(() => {
  byId("undrawn").hidden = false;
});
