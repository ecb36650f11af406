/* A link that is pressed is copied, too; one into a fold opens it. */
for (const a of document.querySelectorAll("a.anchor")) a.addEventListener("click", async () => {
  try { await navigator.clipboard.writeText(a.href); } catch { return; }
  const box = a.getBoundingClientRect();
  show(say.textContent = "link copied", box.x + box.width / 2, box.y);
});
function follow() {
  const place = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!place) return;
  for (let fold = place.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  const more = place.querySelector(":scope > details.more");
  if (more) more.open = true;
  place.scrollIntoView();
}
addEventListener("hashchange", follow); follow();
