/* A stretch of the run is looked at closely in all figures over its time: dragged across, or by + and - at the crosshair. */
const STEPS_S = [.1, .2, .5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
const SHORTEST_S = .5, runs = [];
const pad = v => String(v).padStart(2, "0");
const instant = (s, step) => s >= 3600 ? `${Math.floor(s / 3600)}:${pad(Math.floor(s / 60) % 60)}:${pad(Math.round(s % 60))}`
  : s >= 60 || step >= 60 ? `${Math.floor(s / 60)}:${pad(+(s % 60).toFixed(step < 1 ? 1 : 0))}` : `${+s.toFixed(step < 1 ? 1 : 0)}\u00a0s`;
function marked(parent, name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return parent.appendChild(element);
}
function stretchTo(from, to) {
  const longest = Math.max(...runs.map(run => run.length));
  from = Math.max(0, from); to = Math.min(longest, to);
  const whole = from <= 0 && to >= longest, step = STEPS_S.find(s => (to - from) / s <= 9) ?? 86400;
  if (to - from < SHORTEST_S) return;
  for (const run of runs) {
    const {svg, x0, x1, length, foot} = run, wide = x1 - x0;
    const k = whole ? 1 : length / (to - from), shift = whole ? 0 : x0 - k * (x0 + from / length * wide);
    Object.assign(run, whole ? {from: 0, to: length} : {from, to});
    svg.scale = {k, shift, x0, x1};
    svg.classList.toggle("zoomed", !whole);
    for (const outer of svg.querySelectorAll(".stretch")) {
      const [top, bottom] = outer.dataset.y.split(" ");
      outer.firstChild.setAttribute("transform", `translate(${shift} 0) scale(${k} 1)`);
      outer.style.clipPath = whole ? "" : `polygon(${x0}px ${top}px, ${x1}px ${top}px, ${x1}px ${bottom}px, ${x0}px ${bottom}px) view-box`;
    }
    run.ticks?.remove();
    if (!whole) {
      run.ticks = marked(svg, "g", {});
      marked(run.ticks, "path", {d: `M${x0} ${foot}H${x1}`, class: "axis"});
      for (let s = Math.ceil(from / step) * step; s <= to; s += step) {
        const x = x0 + (s - from) / (to - from) * wide;
        marked(run.ticks, "path", {d: `M${x} ${foot}v4`, class: "axis"});
        marked(run.ticks, "text", {x, y: foot + 17, class: "tick", "text-anchor": "middle"}, instant(s, step));
      }
    }
    run.say.textContent = whole ? "Drag across the figure to zoom in, or press + and \u2212. " : `${instant(from, 1)} to ${instant(to, 1)} `;
    run.all.hidden = whole;
  }
  say.textContent = whole ? "the whole run" : `from ${instant(from, 1)} to ${instant(to, 1)}`;
}
for (const svg of document.querySelectorAll("svg[data-run]")) {
  const [x0, x1, length, foot] = svg.dataset.run.split(" ").map(Number), width = svg.viewBox.baseVal.width;
  const line = document.createElement("p"), words = document.createElement("span"), all = document.createElement("button");
  const run = {svg, x0, x1, length, foot, from: 0, to: length, say: words, all};
  line.className = "note zoom"; all.type = "button"; all.textContent = "the whole run"; all.hidden = true;
  line.append(words, all); svg.parentElement.after(line); runs.push(run);
  const second = x => run.from + (Math.max(x0, Math.min(x1, x)) - x0) / (x1 - x0) * (run.to - run.from);
  const place = e => { const box = svg.getBoundingClientRect(); return (e.clientX - box.x) * width / box.width; };
  const whole = () => stretchTo(0, Infinity);
  let begin = null, area = null;
  svg.addEventListener("pointerdown", e => {
    if (e.pointerType == "touch" || e.button || place(e) < x0 - 4 || place(e) > x1 + 4) return;
    begin = place(e); svg.setPointerCapture(e.pointerId);
    area = marked(svg, "rect", {y: 0, height: foot, class: "chosen"});
  });
  svg.addEventListener("pointermove", e => {
    if (begin === null) return;
    const [left, right] = [begin, place(e)].map(x => Math.max(x0, Math.min(x1, x))).sort((a, b) => a - b);
    area.setAttribute("x", left); area.setAttribute("width", right - left);
  });
  const end = wanted => e => {
    if (begin === null) return;
    const ends = [begin, place(e)].sort((a, b) => a - b);
    begin = null; area.remove();
    if (wanted && ends[1] - ends[0] > 6) stretchTo(second(ends[0]), second(ends[1]));
  };
  svg.addEventListener("pointerup", end(true)); svg.addEventListener("pointercancel", end(false));
  svg.addEventListener("dblclick", whole); all.addEventListener("click", () => { whole(); svg.focus(); });
  svg.addEventListener("keydown", e => {
    const half = {"+": .25, "=": .25, "-": 1}[e.key] * (run.to - run.from);
    if (e.key == "0") return whole();
    if (!half) return;
    const middle = Math.max(half, second(svg.crossed ?? (x0 + x1) / 2)), from = Math.max(0, Math.min(middle - half, length - 2 * half));
    stretchTo(from, from + 2 * half); e.preventDefault();
  });
}
if (runs.length) { stretchTo(0, Infinity); say.textContent = ""; }
