// Read before the page is painted, so that a chosen theme does not flash the other one. A classic script, no module.
try {
  const chosen = JSON.parse(localStorage.getItem("monosema:theme") ?? "null");
  if (chosen) document.documentElement.style.colorScheme = chosen;
} catch {
  /* Nothing is kept, so the system's choice holds. */
}
