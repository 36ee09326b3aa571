// Draws the charts of the page from the data beside their tables. All else on the page works without it.
"use strict";
(() => {
  const theme = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // The chart library reads some markup in names; a name is text.
  const MARKS = { "&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;" };
  const plain = (text) => text.replace(/[&<>$]/g, (mark) => MARKS[mark]);
  const short = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

  const AXES = {
    USD: { tickprefix: "$", tickformat: ",~g", hover: "$,.6~g" },
    1: { tickformat: ".0%", hover: ".2%" },
    s: { ticksuffix: " s", tickformat: ",~g", hover: ",.3~g" },
    "": { tickformat: ",~g", hover: ",.6~g" },
  };
  const TIMES = [
    { dtickrange: [null, 86399999], value: "%b %-d, %H:%M" },
    { dtickrange: [86400000, "M1"], value: "%b %-d" },
    { dtickrange: ["M1", null], value: "%b %Y" },
  ];
  const COUNTS = { tickformat: ",~s", hover: ",.6~g" };

  function numberAxis(data) {
    const stacked = data.chart === "bars";
    const stacks = data.places.map((_, at) => data.series.reduce((sum, one) => sum + (one.values[at] || 0), 0));
    const most = Math.max(0, ...(stacked ? stacks : data.series.flatMap((one) => one.values)));
    const { hover, ...format } = AXES[data.unit] || (most < 1000 ? AXES[""] : COUNTS);
    const whole = data.unit && !AXES[data.unit] && most < 6;
    return whole ? { ...format, dtick: 1 } : format;
  }

  function traces(data) {
    const colors = theme("--series").split(" ");
    const { hover } = AXES[data.unit] || COUNTS;
    const paint = (one, at) => (one.other ? theme("--other") : colors[at % colors.length]);
    if (data.chart === "ranking") {
      const values = data.series.length === 1 && data.places.length > 1 ? data.series[0].values : data.series.map((one) => one.values[0]);
      return [{
        type: "bar", orientation: "h", x: values, y: data.places.map((_, at) => at),
        marker: { color: colors[0] }, hovertext: data.places.map(plain), hovertemplate: `%{hovertext}<br><b>%{x:${hover}}</b><extra></extra>`,
      }];
    }
    const times = data.places.map((place) => place.replace(" 00:00", ""));
    return data.series.map((one, at) => ({
      name: plain(short(one.name, 40)), meta: plain(one.name), x: times, y: one.values,
      ...(data.chart === "lines"
        ? { type: "scatter", mode: "lines+markers", line: { color: paint(one, at), width: 2 }, marker: { size: 5 } }
        : { type: "bar", marker: { color: paint(one, at) } }),
      hovertemplate: `%{meta}<br>%{x}<br><b>%{y:${hover}}</b><extra></extra>`,
    }));
  }

  function layout(data, box) {
    const ranking = data.chart === "ranking";
    const narrow = box.clientWidth < 420;
    const line = theme("--line");
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true, fixedrange: true };
    const format = numberAxis(data);
    const numbers = { ...axis, ...format, rangemode: "tozero", nticks: narrow ? 4 : 6 };
    // How much of a budget is used shows against all of it.
    if (ranking && data.unit === "1") numbers.range = [0, Math.max(1, ...data.series.flatMap((one) => one.values)) * 1.02];
    return {
      font: { color: theme("--ink"), size: 12, family: getComputedStyle(document.body).fontFamily },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 8, r: 12, t: 8, b: 8 }, barmode: "stack", bargap: 0.15, hovermode: "closest", dragmode: false,
      ...(data.chart === "shares" ? { barnorm: "percent" } : {}),
      xaxis: ranking ? numbers : { ...axis, type: "date", tickformatstops: TIMES, nticks: narrow ? 4 : 8, showgrid: false },
      yaxis: ranking
        ? { ...axis, autorange: "reversed", showgrid: false, tickvals: data.places.map((_, at) => at), ticktext: data.places.map((place) => plain(short(place, narrow ? 16 : 26))) }
        : { ...numbers, ...(data.chart === "shares" ? { tickprefix: "", tickformat: "", ticksuffix: " %" } : {}) },
      showlegend: !ranking && data.series.length > 1,
      legend: { orientation: "h", y: -0.12, yanchor: "top", font: { size: 11 }, traceorder: "normal" },
      hoverlabel: { bgcolor: theme("--panel"), bordercolor: line, font: { color: theme("--ink") }, namelength: -1 },
    };
  }

  function draw(box) {
    const source = box.querySelector("script");
    if (!source || !window.Plotly) return;
    let data;
    try {
      data = JSON.parse(source.textContent);
    } catch {
      return; // not all of it has arrived
    }
    let plot = box.querySelector(".plot");
    if (!plot) {
      plot = document.createElement("div");
      plot.className = "plot";
      plot.style.height = "100%";
      box.append(plot);
    }
    const config = { displayModeBar: false, responsive: true, showTips: false, doubleClick: false };
    window.Plotly.react(plot, traces(data), layout(data, box), config).then(() => {
      box.dataset.drawn = "yes";
    });
    if (plot.dataset.linked || !data.spans.length) return;
    plot.dataset.linked = "yes";
    plot.on("plotly_click", (event) => {
      const point = event.points[0];
      const one = data.chart === "ranking" ? data.series[point.pointIndex] : data.series[point.curveNumber];
      if (one && one.to) window.location.assign(one.to + data.spans[point.pointIndex]);
    });
  }

  const all = () => document.querySelectorAll(".chart").forEach((box) => box.dataset.drawn || draw(box));
  const again = () => document.querySelectorAll(".chart").forEach(draw);

  function start() {
    all();
    // Panels arrive one by one.
    const watch = new MutationObserver(all);
    watch.observe(document.documentElement, { childList: true, subtree: true });
    const end = () => { all(); watch.disconnect(); };
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", end);
    else end();
  }

  const library = document.getElementById("charts");
  if (window.Plotly || !library) start();
  else library.addEventListener("load", start);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
})();
