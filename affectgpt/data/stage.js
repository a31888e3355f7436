"use strict";
// The clip, its timelines and what is told of it, wired together inside `root`: a play button plays its stretch, a
// citation leads to its observation, the timelines follow the clip and lead it. `figure` is null where nothing is drawn.
function openStage(root, figure) {
  const clip = root.querySelector("#clip");
  const plot = root.querySelector("#timeline");
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const leaving = new AbortController();
  const heard = { signal: leaving.signal };
  let stopAt = null;
  let cursorDue = 0;

  function seek(start, end) {
    if (!clip) return;
    clip.currentTime = start;
    stopAt = null;
    mark();
    // A playback that the browser refuses leaves the clip standing at the right place, which is what was asked for.
    if (end > start && !calm.matches) clip.play().then(() => { stopAt = end; }).catch(() => {});
  }

  function mark() {
    const now = clip.currentTime;
    // Whoever pauses, or goes elsewhere, is not held to the stretch any more.
    if (stopAt !== null && (clip.paused || now > stopAt + 0.6)) stopAt = null;
    if (stopAt !== null && now >= stopAt) { clip.pause(); clip.currentTime = stopAt; stopAt = null; }
    for (const item of root.querySelectorAll(".observation[data-end]")) {
      item.classList.toggle("now", now >= Number(item.dataset.start) && now <= Number(item.dataset.end));
    }
    if (plot && plot.layout && performance.now() >= cursorDue) {
      cursorDue = performance.now() + 120;
      Plotly.relayout(plot, { "shapes[0].x0": now, "shapes[0].x1": now });
    }
  }

  // Shows an observation, and the clip at its time. False where there is none of this id.
  function go(id) {
    const target = root.querySelector(`.observation[id="${CSS.escape(id)}"]`);
    if (!target) return false;
    target.scrollIntoView({ block: "center", behavior: calm.matches ? "auto" : "smooth" });
    target.focus({ preventScroll: true });
    target.classList.remove("cited");
    void target.offsetWidth; // restarts the animation
    target.classList.add("cited");
    if (clip && target.dataset.start) { clip.currentTime = Number(target.dataset.start); mark(); }
    return true;
  }

  root.addEventListener("click", (event) => {
    const button = event.target.closest(".seek");
    if (button) return seek(Number(button.dataset.start), Number(button.dataset.end));
    const link = event.target.closest(".cite");
    if (link && go(link.hash.slice(1))) event.preventDefault();
  }, heard);
  if (clip) {
    clip.addEventListener("timeupdate", mark, heard);
    clip.addEventListener("seeked", () => { cursorDue = 0; mark(); }, heard);
  }

  // ---- timelines
  const names = figure && figure.rows[0] === "face" ? figure.data[0].y : [];
  const isNarrow = () => plot.clientWidth < 340; // then the action units' numbers have to do
  const dark = matchMedia("(prefers-color-scheme: dark)");

  let drawnNarrow = false;
  function draw() {
    const narrow = isNarrow();
    drawnNarrow = narrow;
    const probe = root.appendChild(document.createElement("i"));
    const colour = (name) => { probe.style.color = `var(${name})`; return getComputedStyle(probe).color; };
    const layout = structuredClone(figure.layout);
    const data = structuredClone(figure.data);
    const line = colour("--line");
    const grid = { gridcolor: line, zerolinecolor: line, linecolor: line, fixedrange: true };
    Object.keys(layout).filter((k) => /^[xy]axis/.test(k)).forEach((k) => Object.assign(layout[k], grid));
    layout.shapes.forEach((s) => { s.fillcolor = colour("--speech-shade"); });
    const cursor = { type: "line", xref: "x", yref: "paper", x0: 0, x1: 0, y0: 0, y1: 1, line: { color: colour("--accent"), width: 1.5 } };
    layout.shapes.unshift(cursor);
    if (clip) cursor.x0 = cursor.x1 = clip.currentTime;
    data.forEach((trace) => {
      if (trace.type === "heatmap") {
        trace.colorscale = [[0, colour("--heat-0")], [1, colour("--heat-1")]];
        if (narrow) trace.y = names.map((n) => (n.startsWith("~") ? "~" : "") + n.split(" ").pop());
        trace.showscale = plot.clientWidth > 480;
        layout.yaxis.tickfont = { size: 9 };
      } else {
        const tone = { valence: "--accent", arousal: "--speech" }[trace.name] || "--voice";
        trace.line = { ...trace.line, color: colour(tone), width: 1.5 };
      }
    });
    Object.assign(layout, {
      margin: { l: narrow ? 44 : 122, r: 12, t: 8, b: 32 }, showlegend: false, hovermode: "closest", dragmode: false,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colour("--ink"), size: 11 },
    });
    probe.remove();
    Plotly.react(plot, data, layout, { displayModeBar: false });
  }

  if (plot && figure && window.Plotly) {
    draw();
    plot.on("plotly_click", (event) => { if (clip) { clip.currentTime = event.points[0].x; mark(); } });
    // The place left for the timelines changes when the clip's size becomes known, not only with the window.
    const resized = new ResizeObserver(() => (isNarrow() === drawnNarrow ? Plotly.Plots.resize(plot) : draw()));
    resized.observe(plot);
    leaving.signal.addEventListener("abort", () => { resized.disconnect(); Plotly.purge(plot); });
    dark.addEventListener("change", draw, heard);
  }
  return { go, redraw: () => { if (plot && plot.layout) draw(); }, close: () => leaving.abort() };
}
