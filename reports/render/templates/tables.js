/* Tables are sorted by a press on a head: figures from the largest on, texts from A on; then the other way; then as before. */
const SIZES = {s: 1e3, min: 6e4, h: 36e5, kB: 1e3, MB: 1e6, GB: 1e9};
function sortKey(cell) {
  const text = [...cell?.childNodes ?? []].filter(n => n.nodeName != "SMALL").map(n => n.textContent).join("").trim().replaceAll("\u2212", "-");
  if (!text || text == "\u2013" || text.startsWith("n/a")) return null;
  if (text == "\u221e") return Infinity;
  const clock = text.match(/^(\d+):(\d\d)$/), number = text.match(/^([+-]?[\d,]*\.?\d+)(?:\s(\S+)|$)/);
  return clock ? 6e4 * clock[1] + 1e3 * clock[2] : number ? number[1].replaceAll(",", "") * (SIZES[number[2]] ?? 1) : text;
}
const inOrder = (a, b) => typeof a == "number" && typeof b == "number" ? a - b : String(a).localeCompare(String(b), "en", {numeric: true});
for (const table of document.querySelectorAll("main table:not(.answer)")) {
  const body = table.tBodies[0], groups = [];
  for (const row of body.rows) {
    if (row.matches(".sum")) break;
    row.querySelector(".ids") ? groups.at(-1).push(row) : groups.push([row]);
  }
  if (!table.tHead || groups.length < 3) continue;
  const rest = body.rows[groups.flat().length] ?? null, heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const name = head.textContent, button = document.createElement("button");
    if (!name.trim() || head.querySelector("a, svg")) return;
    button.type = "button"; button.className = "sort"; button.append(...head.childNodes); head.append(button);
    button.addEventListener("click", () => {
      const keyed = groups.map(group => [sortKey(group[0].cells[column]), group]), figures = keyed.some(([key]) => typeof key == "number");
      const order = figures ? ["descending", "ascending"] : ["ascending", "descending"];
      const wanted = order[order.indexOf(head.getAttribute("aria-sort")) + 1], sign = wanted == "ascending" ? 1 : -1;
      for (const other of heads) other.removeAttribute("aria-sort");
      if (wanted) {
        head.setAttribute("aria-sort", wanted);
        keyed.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null) : sign * inOrder(a, b));
      }
      for (const row of keyed.flatMap(([, group]) => group)) body.insertBefore(row, rest);
      say.textContent = wanted ? `sorted by ${name}, ${wanted}` : "in the original order";
    });
  });
}
